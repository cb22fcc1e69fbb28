# Dump and restore keep every row, total and next id, and what the user added; triggers do not fire on the way back.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use PostgreSQL::Test::Utils;
use Test::More;
use PrmTest;

my $node = new_server('dump', $ENV{PRM_DEST});
my $bin = PrmTest::pg_config('bindir');
my $backup = $PostgreSQL::Test::Utils::tmp_check . '/backup';
mkdir $backup;
my @at = ('-h', $node->host, '-p', $node->port);

my $additions = <<'SQL';
SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'prm.partner'::regclass AND NOT tgisinternal ORDER BY 1;
SELECT indexname FROM pg_indexes WHERE indexname = 'partner_erp_idx';
SELECT policyname, qual FROM pg_policies WHERE policyname = 'ours';
SELECT relrowsecurity FROM pg_class WHERE oid = 'prm.customer'::regclass;
SELECT count(erp_code) FROM prm.partner;
SELECT col_description('prm.partner'::regclass, attnum) FROM pg_attribute WHERE attrelid = 'prm.partner'::regclass AND attname = 'erp_code';
SELECT count(*), sum(amount) FROM public.won_deal;
SELECT count(*) FROM public.audit;
SELECT relacl IS NOT NULL FROM pg_class WHERE oid = 'prm.product'::regclass;
SQL

# restored(NAME, FROM, TO, HOW): the copy equals the original in rows, totals, structure and additions, and lives on.
sub restored
{
	my ($name, $from, $to, %how) = @_;
	is(totals($node, $to), totals($node, $from), "$name: totals are equal");
	is(rows($node, $to), rows($node, $from), "$name: every row and every next id is equal");
	is(sql($node, $to, $additions), sql($node, $from, $additions), "$name: what the user added is there");
	is(structure($node, $to), structure($node, $from), "$name: the model is the same object by object");
	is(sql($node, $to, 'SELECT prm.install()', %how), version_of(), "$name: install() may run again");
	is(rows($node, $to), rows($node, $from), "$name: and changes no row");
	go_on($node, $to, %how);
	return;
}

# --- as superuser ---
$node->safe_psql('postgres', 'CREATE DATABASE source');
sql($node, 'source', 'CREATE EXTENSION prm; SELECT prm.install()');
fill($node, 'source');
cmp_ok(sql($node, 'source', 'SELECT count(DISTINCT state) FROM prm.lead'), '>=', 7, 'leads stand in all seven states');
cmp_ok(sql($node, 'source', 'SELECT count(DISTINCT state) FROM prm.deal'), '==', 5, 'deals stand in all five');
cmp_ok(sql($node, 'source', 'SELECT count(*) FROM prm.ledger'), '>=', 9, 'commissions are booked');

for my $format (qw(plain custom directory))
{
	my $file = "$backup/super.$format";
	command_ok([ "$bin/pg_dump", @at, "--format=$format", ($format eq 'directory' ? ('-j', 2) : ()), '-f', $file, 'source' ], "pg_dump, $format");
	$node->safe_psql('postgres', "CREATE DATABASE $format");
	if ($format eq 'plain')
	{
		command_ok([ "$bin/psql", @at, '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-f', $file, $format ], 'psql restores without an error');
	}
	else
	{
		command_ok([ "$bin/pg_restore", @at, '--exit-on-error', ($format eq 'directory' ? ('-j', 2) : ()), '-d', $format, $file ], "pg_restore, $format, without an error");
	}
	restored("superuser, $format", 'source', $format);
}

# --- as the ordinary owner of a database in which a superuser made schema and code beforehand ---
create_owner($node, 'keeper', qw(kept kept_plain kept_custom));
install_as($node, 'kept', 'keeper');
fill($node, 'kept', 'keeper');
command_ok([ "$bin/pg_dump", @at, '-U', 'keeper', '--format=custom', '-f', "$backup/kept.custom", 'kept' ], 'an ordinary owner dumps');
command_ok([ "$bin/pg_dump", @at, '-U', 'keeper', '-f', "$backup/kept.plain", 'kept' ], 'an ordinary owner dumps as text');

# The schema and the code are there already; all else is restored by the list.
my ($list) = run_command([ "$bin/pg_restore", '-l', "$backup/kept.custom" ]);
append_to_file("$backup/list", join("\n", grep { !/ (SCHEMA - prm |EXTENSION - prm|COMMENT - EXTENSION prm)/ } split(/\n/, $list)) . "\n");
command_ok([ "$bin/pg_restore", @at, '-U', 'keeper', '--exit-on-error', '-L', "$backup/list", '-d', 'kept_custom', "$backup/kept.custom" ],
	'an ordinary owner restores without an error');
restored('owner, custom', 'kept', 'kept_custom', user => 'keeper');

# The text has no list, so the three statements about what is there already fail, and nothing else.
my ($out, $error) = run_command([ "$bin/psql", @at, '-U', 'keeper', '-X', '-q', '-o', '/dev/null', '-f', "$backup/kept.plain", 'kept_plain' ]);
my @errors = grep { /ERROR:/ && !/schema "prm" already exists|must be owner of (extension )?(prm|btree_gist)/ } split /\n/, $error;
is(join("\n", @errors), '', 'the plain text restores but for what is there already');
restored('owner, plain', 'kept', 'kept_plain', user => 'keeper');

# --- into a database of another owner: refused by the guard, unless one says adopt ---
$node->safe_psql('postgres', 'CREATE ROLE stranger LOGIN');
$node->safe_psql('postgres', 'CREATE DATABASE foreign_one OWNER stranger');
$node->safe_psql('postgres', 'CREATE DATABASE adopted OWNER stranger');
command_fails([ "$bin/pg_restore", @at, '--exit-on-error', '-d', 'foreign_one', "$backup/kept.custom" ], 'a restore under another owner of the database is refused');
{
	local $ENV{PGOPTIONS} = '-c prm.adopt=on';
	command_ok([ "$bin/pg_restore", @at, '--exit-on-error', '-d', 'adopted', "$backup/kept.custom" ], 'and done with prm.adopt = on');
}
is(rows($node, 'adopted'), rows($node, 'kept'), 'adopted: every row is equal');
go_on($node, 'adopted', user => 'keeper');

unlike(slurp_file($node->logfile), qr/WARNING:/, 'no warning in the log of the server');
done_testing();
