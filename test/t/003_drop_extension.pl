# DROP EXTENSION prm: refused while there is a model, and with CASCADE it takes the code only. Every row stays, and the model is
# reconnected with what depended on the code.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use PostgreSQL::Test::Utils;
use Test::More;
use PrmTest;

my $node = new_server('drop', $ENV{PRM_DEST});

for my $case ([ "a superuser's database", 'own', undef ], [ "an owner's database", 'kept', 'keeper' ])
{
	my ($name, $database, $user) = @$case;
	if ($user) { create_owner($node, $user, $database); }
	else { $node->safe_psql('postgres', "CREATE DATABASE $database"); sql($node, $database, 'CREATE EXTENSION prm'); }
	install_as($node, $database, $user);
	fill($node, $database, $user);
	my $rows = rows($node, $database);
	my $totals = totals($node, $database);
	my $structure = structure($node, $database);

	fails($node, $database, 'DROP EXTENSION prm', '2BP01', qr/cannot drop extension prm because other objects depend on it/, "$name: not without CASCADE");
	is(rows($node, $database), $rows, "$name: nothing changed by the attempt");

	sql($node, $database, 'SET client_min_messages = error; DROP EXTENSION prm CASCADE');
	is(sql($node, $database, "SELECT count(*) FROM pg_proc WHERE pronamespace = 'prm'::regnamespace AND prolang = (SELECT oid FROM pg_language WHERE lanname = 'c')"),
		'0', "$name: the code is gone");
	is(rows($node, $database), $rows, "$name: every row and sequence stands");

	# Coming back by accident is refused: the schema is full of something.
	fails($node, $database, 'CREATE EXTENSION prm', '42P06', qr/schema "prm" already exists and is not empty.*prm\.adopt/s, "$name: not without adopt");
	sql($node, $database, "SET prm.adopt = 'on'; CREATE EXTENSION prm");
	is(sql($node, $database, 'SELECT prm.install()', user => $user), version_of(), "$name: install() reconnects the model");
	is(rows($node, $database), $rows, "$name: every row and sequence as before");
	is(totals($node, $database), $totals, "$name: every total as before");
	my ($before, $after) = map { { map { $_ => 1 } split /\n/ } } $structure, structure($node, $database);
	is(join("\n", grep { !$after->{$_} } sort keys %$before), '', "$name: nothing of the structure is lost");
	is(join("\n", grep { !$before->{$_} } sort keys %$after), '', "$name: nothing is added to it");
	go_on($node, $database, user => $user);

	# Installed twice over, the extension can be dropped again. (The ids that were tried above are used up.)
	$rows = rows($node, $database);
	sql($node, $database, 'SET client_min_messages = error; DROP EXTENSION prm CASCADE');
	is(rows($node, $database), $rows, "$name: a second time: every row stands");
	sql($node, $database, "SET prm.adopt = 'on'; CREATE EXTENSION prm");
	install_as($node, $database, $user);
	go_on($node, $database, user => $user);

	# The way out: the view of the user's stands in the way, is named, and goes first.
	fails($node, $database, "SELECT prm.uninstall('drop all prm data')", '2BP01', qr/view public.won_deal|view won_deal/, "$name: uninstall names what depends on the model", user => $user);
	sql($node, $database, 'DROP VIEW public.won_deal', user => $user);
	like(sql($node, $database, "SELECT prm.uninstall('drop all prm data')", user => $user), qr/^dropped: \d+ tables/, "$name: uninstall()");
	sql($node, $database, 'DROP EXTENSION prm');
	is(sql($node, $database, "SELECT count(*) FROM pg_depend WHERE refclassid = 'pg_namespace'::regclass AND refobjid = 'prm'::regnamespace"), '0',
		"$name: nothing is left in the schema");
}

unlike(slurp_file($node->logfile), qr/WARNING:/, 'no warning in the log of the server');
done_testing();
