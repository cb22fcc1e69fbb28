# What the TAP tests share: a server of their own, packages of two versions, rows in every state, and fingerprints of a
# database that must be equal on both sides of a dump, an upgrade or a drop.
package PrmTest;
use strict;
use warnings;
use Exporter 'import';
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Path qw(make_path);
use File::Temp ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(new_server package_in version_of sql fails create_owner install_as fill totals rows structure go_on);
our $TREE = abs_path(dirname(__FILE__) . '/../..');
our $PG_CONFIG = $ENV{PG_CONFIG} || 'pg_config';

sub pg_config { my ($what) = @_; my $value = `$PG_CONFIG --$what`; chomp $value; return $value; }

# The lines by which a server reads the extension from below a folder; none where the folder is not given (installed).
sub extension_lines
{
	my ($dest) = @_;
	return '' unless $dest;
	my ($major) = pg_config('version') =~ /^PostgreSQL (\d+)/;
	return "extension_destdir = '$dest'\n" if $major < 18;
	return "extension_control_path = '$dest" . pg_config('sharedir') . ":\$system'\n"
	  . "dynamic_library_path = '$dest" . pg_config('pkglibdir') . ":\$libdir'\n";
}

sub new_server
{
	my ($name, $dest) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8', '--no-sync' ]);
	$node->append_conf('postgresql.conf', "log_min_messages = warning\nmax_prepared_transactions = 5\n" . extension_lines($dest));
	$node->start;
	return $node;
}

# A build of the tree as it stands, changed by a function, installed below a folder of its own (again for an upgrade).
sub package_in
{
	my ($dest, $change) = @_;
	my $source = File::Temp->newdir(CLEANUP => 1, DIR => $PostgreSQL::Test::Utils::tmp_check);
	system_or_bail('cp', '-r', map({ "$TREE/$_" } qw(Makefile prm.control README.md sql src)), "$source");
	# What was built of the present version is not that of the other one.
	unlink glob("$source/sql/prm--*.sql"), glob("$source/src/*.o"), glob("$source/*.so");
	$change->("$source") if $change;
	local $ENV{MAKEFLAGS} = '';
	my $log = "$PostgreSQL::Test::Utils::log_path/build.log";
	system("make -s -C $source with_llvm=no PG_CONFIG=$PG_CONFIG >>$log 2>&1 && make -s -C $source with_llvm=no PG_CONFIG=$PG_CONFIG DESTDIR=$dest install >>$log 2>&1") == 0
	  or BAIL_OUT('the build failed: ' . slurp_file($log));
	my $script = slurp_file((glob("$source/sql/prm--*.sql"))[0]);
	return $script;
}

sub version_of
{
	my ($version) = slurp_file("$TREE/prm.control") =~ /^default_version *= *'([^']+)'/m;
	return $version;
}

# sql(NODE, DATABASE, TEXT, user => ROLE, options => PGOPTIONS): the output; an error is a failed test.
sub sql
{
	my ($node, $database, $text, %how) = @_;
	my ($status, $out, $error) = run_psql($node, $database, $text, %how);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	if ($status != 0)
	{
		fail('statement works: ' . substr($text =~ s/\s+/ /gr, 0, 100));
		diag($error);
	}
	return $out;
}

sub run_psql
{
	my ($node, $database, $text, %how) = @_;
	my ($out, $error);
	local $ENV{PGOPTIONS} = $how{options} // '';
	my $status = $node->psql($database, $text, stdout => \$out, stderr => \$error, on_error_stop => 1,
		extra_params => [ '-v', 'VERBOSITY=verbose', $how{user} ? ('-U', $how{user}) : () ]);
	return ($status, $out, $error);
}

# fails(NODE, DATABASE, TEXT, SQLSTATE, PATTERN, NAME, how...): the statement is refused with that error.
sub fails
{
	my ($node, $database, $text, $sqlstate, $pattern, $name, %how) = @_;
	my ($status, $out, $error) = run_psql($node, $database, $text, %how);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok($status != 0 && $error =~ /ERROR:\s+$sqlstate:/ && $error =~ $pattern, $name)
	  || diag("status $status, error: $error, wanted $sqlstate and $pattern");
}

# An ordinary role, and a database of its own in which a superuser made schema and code.
sub create_owner
{
	my ($node, $role, @databases) = @_;
	sql($node, 'postgres', "CREATE ROLE $role LOGIN") if sql($node, 'postgres', "SELECT count(*) FROM pg_roles WHERE rolname = '$role'") eq '0';
	for my $database (@databases)
	{
		sql($node, 'postgres', "CREATE DATABASE $database OWNER $role TEMPLATE template0");
		sql($node, $database, "CREATE SCHEMA prm AUTHORIZATION $role; CREATE EXTENSION prm");
	}
	return;
}
sub install_as { my ($node, $database, $user) = @_; return sql($node, $database, 'SELECT prm.install()', user => $user); }

# A programme with rows in every state, made through the engines, and what a user adds to the model.
sub fill
{
	my ($node, $database, $user) = @_;
	my ($status, $out, $error);
	$status = $node->psql($database, slurp_file("$TREE/test/t/fill.sql"), stdout => \$out, stderr => \$error,
		on_error_stop => 1, extra_params => [ $user ? ('-U', $user) : () ]);
	is($status, 0, 'a programme with rows in every state is made') or diag($error);
	return;
}

# The md5 of all rows of each table, and where each sequence stands. The table of steps names the extension's identity,
# which differs by design after CREATE EXTENSION, so only its steps count.
sub rows
{
	my ($node, $database, %how) = @_;
	return sql($node, $database, <<'SQL', %how);
SELECT string_agg(format(CASE WHEN c.relname = 'model' THEN 'SELECT ''model'', count(*), md5(string_agg(step || name || version, '','' ORDER BY step)) FROM prm.model'
  ELSE 'SELECT %L, count(*), md5(string_agg(t::text, E''\n'' ORDER BY t::text COLLATE "C")) FROM prm.%I t' END, c.relname, c.relname), ' UNION ALL ' ORDER BY c.relname)
  || ' ORDER BY 1' FROM pg_class c WHERE c.relnamespace = 'prm'::regnamespace AND c.relkind IN ('r', 'p')
\gexec
SELECT string_agg(format('SELECT %L, last_value, is_called FROM prm.%I', relname, relname), ' UNION ALL ' ORDER BY relname) || ' ORDER BY 1'
FROM pg_class WHERE relnamespace = 'prm'::regnamespace AND relkind = 'S'
\gexec
SQL
}

# The sums that people look at, readable where the fingerprints differ.
sub totals
{
	my ($node, $database, %how) = @_;
	return sql($node, $database, <<'SQL', %how);
SELECT 'deals', state, count(*), sum(amount) FROM prm.deal GROUP BY state ORDER BY 2;
SELECT 'leads', state, count(*) FROM prm.lead GROUP BY state ORDER BY 2;
SELECT 'ledger', kind, currency, count(*), sum(amount) FROM prm.ledger GROUP BY kind, currency ORDER BY 2, 3;
SELECT 'history', count(*) FROM prm.state_history;
SELECT 'outbox', event_type, count(*) FROM prm.outbox GROUP BY event_type ORDER BY 2;
SELECT 'tiers', tier, count(*) FROM prm.partner GROUP BY tier ORDER BY 2;
SQL
}

# Everything of the model that is not rows: the schema dump, ordered, without what differs by design.
sub structure
{
	my ($node, $database, @options) = @_;
	my ($out, $error);
	IPC::Run::run([ $node->installed_command_or_plain('pg_dump'), '-h', $node->host, '-p', $node->port, '-s', '-n', 'prm', @options, $database ], '>', \$out, '2>', \$error)
	  or BAIL_OUT("pg_dump: $error");
	my @lines = grep { !/^(--|\s*$|SET |SELECT pg_catalog.set_config|\\(un)?restrict)/ } split /\n/, $out;
	return join "\n", @lines;
}
sub PostgreSQL::Test::Cluster::installed_command_or_plain { my ($node, $name) = @_; return pg_config('bindir') . "/$name"; }

# Work goes on: new rows get fresh ids, the engines answer, nothing collides.
sub go_on
{
	my ($node, $database, %how) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $result = sql($node, $database, <<'SQL', %how);
BEGIN;
SELECT set_config('prm.program_id', min(program_id)::text, true) IS NULL FROM prm.program;
CREATE TEMP TABLE highest AS SELECT (SELECT max(partner_id) FROM prm.partner) AS partner, (SELECT max(lead_id) FROM prm.lead) AS lead,
  (SELECT max(deal_id) FROM prm.deal) AS deal, (SELECT max(entry_id) FROM prm.ledger) AS entry, (SELECT max(history_id) FROM prm.state_history) AS history;
INSERT INTO prm.partner (name) VALUES ('Newcomer');
INSERT INTO prm.lead (partner_id, company, need, budget, timeline_on, decision_maker)
  SELECT max(partner_id), 'New Prospect', 'x', 1000, '2030-01-01', 'y' FROM prm.partner;
SELECT set_config('prm.partner_id', max(partner_id)::text, true) IS NULL FROM prm.partner;
SELECT prm.fire('lead', (SELECT max(lead_id) FROM prm.lead), 'qualify');
SELECT set_config('prm.partner_id', '', true);
INSERT INTO prm.deal (partner_id, name, amount, currency) SELECT max(partner_id), 'New Deal', 20000, 'USD' FROM prm.partner;
SELECT prm.fire('deal', (SELECT max(deal_id) FROM prm.deal), 'win');
SELECT (SELECT max(partner_id) FROM prm.partner) > partner, (SELECT max(lead_id) FROM prm.lead) > lead, (SELECT max(deal_id) FROM prm.deal) > deal,
  (SELECT count(*) FROM prm.ledger WHERE entry_id > entry) = 1, (SELECT count(*) FROM prm.state_history WHERE history_id > history) = 5 FROM highest;
ROLLBACK;
SQL
	is($result, "f\nf\npartner_qualified\n\nwon\nt|t|t|t|t", 'work goes on: fresh ids, history and commissions of new rows');
	is(sql($node, $database, 'SELECT * FROM prm.check()', %how), '', 'check() finds nothing');
	return;
}

1;
