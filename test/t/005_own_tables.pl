# Tables of the user's with a machine: a dump brings them back attached, plain and custom, and the machine goes on.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use PostgreSQL::Test::Utils;
use Test::More;
use PrmTest;

my $node = new_server('own', $ENV{PRM_DEST});
my $bin = PrmTest::pg_config('bindir');
my $backup = $PostgreSQL::Test::Utils::tmp_check . '/own';
mkdir $backup;
my @at = ('-h', $node->host, '-p', $node->port);

my $machine = '{"initial": "open", "states": {"open": {"on": {"take": {"target": "busy"}}}, "busy": {"on": {"solve": {"target": "solved"}}}, "solved": {"type": "final"}}}';
my $setup = <<"SQL";
SET client_min_messages = warning;
SELECT set_config('prm.program_id', prm.create_program('Own', 'blank')::text, false);
SELECT prm.define_machine(m, '$machine') FROM unnest(ARRAY['ticket', 'visit', 'shared']) m;
CREATE SCHEMA "Own ""tables""";
CREATE TABLE "Own ""tables"""."the ticket" ("the id" uuid PRIMARY KEY, "the state" text NOT NULL DEFAULT 'open');
CREATE TABLE public.visit (id integer PRIMARY KEY, state text NOT NULL DEFAULT 'open') PARTITION BY HASH (id);
CREATE TABLE public.visit_0 PARTITION OF public.visit FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE public.visit_1 PARTITION OF public.visit FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE public.shared (tenant bigint NOT NULL, id bigint, state text NOT NULL DEFAULT 'open', PRIMARY KEY (tenant, id));
INSERT INTO "Own ""tables"""."the ticket" SELECT md5(i::text)::uuid FROM generate_series(1, 5) i;
SELECT prm.attach_machine('"Own ""tables"""."the ticket"', 'ticket', 'the state', 'the id');
SELECT prm.attach_machine('public.visit', 'visit');
SELECT prm.attach_machine('public.shared', 'shared', program_column => 'tenant');
INSERT INTO public.visit SELECT generate_series(1, 100);
INSERT INTO public.shared SELECT prm.current_program(), generate_series(1, 10);
UPDATE public.visit SET state = 'busy' WHERE id <= 50;
UPDATE "Own ""tables"""."the ticket" SET "the state" = 'busy' WHERE "the id" < md5('3')::uuid;
-- Some stay on the first version.
SELECT prm.define_machine('visit', '{"initial": "open", "states": {"open": {"on": {"go": {"target": "gone"}}}, "gone": {"type": "final"}}}');
INSERT INTO public.visit VALUES (101);
-- Renamed after it was attached.
ALTER TABLE public.shared RENAME TO "Shared";
SQL

# What must be equal on both sides.
my $present = <<'SQL';
SELECT program_id, machine, target::text, key_column, state_column, program_column FROM prm.machine_target ORDER BY 1, 2;
SELECT program_id, machine, version, is_current, has_rows FROM prm.machine ORDER BY 1, 2, 3;
SELECT machine, machine_version, to_state, count(*), min(history_id), max(history_id) FROM prm.state_history GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname LIKE 'prm_10_machine%' ORDER BY 1, 2;
SELECT * FROM prm.check();
SQL

sub lives_on
{
	my ($name, $database, %how) = @_;
	sql($node, $database, <<'SQL', %how);
SET prm.program_id = 1;
UPDATE public.visit SET state = CASE WHEN id = 101 THEN 'gone' WHEN id <= 50 THEN 'solved' ELSE 'busy' END;
UPDATE public.visit_0 SET state = 'solved' WHERE state = 'busy';
UPDATE public."Shared" SET state = 'busy';
SELECT prm.fire_uuid('ticket', "the id", 'solve') FROM "Own ""tables"""."the ticket" WHERE "the state" = 'busy';
SELECT prm.fire('shared', 3, 'solve');
SQL
	is(sql($node, $database, q{SELECT count(DISTINCT machine_version) || ' ' || count(*) FROM prm.state_history WHERE machine = 'visit' AND event IS NOT NULL}, %how),
		'2 ' . (50 + 50 + 50 + 1 + sql($node, $database, q{SELECT count(*) FROM public.visit_0 WHERE id BETWEEN 51 AND 100}, %how)), "$name: rows go on, each on its version");
	is(sql($node, $database, q{SELECT count(*) FROM prm.state_history WHERE machine = 'ticket' AND event = 'solve'}, %how),
		sql($node, $database, q{SELECT count(*) FROM "Own ""tables"""."the ticket" WHERE "the state" = 'solved'}, %how), "$name: so do uuid keys");
	fails($node, $database, q{SET prm.program_id = 1; UPDATE public.visit SET state = 'open'}, '23514', qr/visit \d+ cannot go from/, "$name: and cannot get round the machine", %how);
	sql($node, $database, q{SET prm.program_id = 1; SELECT prm.detach_machine('public.visit'); UPDATE public.visit SET state = 'anything'}, %how);
	is(sql($node, $database, q{SELECT count(*) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE c.relname LIKE 'visit%' AND t.tgname LIKE 'prm%'}, %how), '0', "$name: until it is detached");
	return;
}

$node->safe_psql('postgres', 'CREATE DATABASE source');
sql($node, 'source', 'CREATE EXTENSION prm; SELECT prm.install()');
sql($node, 'source', $setup);
my $before = sql($node, 'source', $present);
like($before, qr/"Shared"/, 'a renamed table is followed');

for my $format (qw(plain custom))
{
	my $file = "$backup/own.$format";
	command_ok([ "$bin/pg_dump", @at, "--format=$format", '-f', $file, 'source' ], "pg_dump, $format");
	$node->safe_psql('postgres', "CREATE DATABASE own_$format");
	if ($format eq 'plain')
	{
		command_ok([ "$bin/psql", @at, '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-f', $file, "own_$format" ], 'psql restores without an error');
	}
	else
	{
		command_ok([ "$bin/pg_restore", @at, '--exit-on-error', '-j', 2, '-d', "own_$format", $file ], 'pg_restore, with two jobs, without an error');
	}
	is(sql($node, "own_$format", $present), $before, "$format: registrations, versions, history and triggers are equal");
	is(sql($node, "own_$format", 'SELECT prm.install()'), version_of(), "$format: install() may run again");
	is(sql($node, "own_$format", $present), $before, "$format: and changes nothing of it");
	lives_on($format, "own_$format");
}

# The model's owner and the table's owner are two ordinary roles.
create_owner($node, 'keeper', 'two');
install_as($node, 'two', 'keeper');
$node->safe_psql('two', 'CREATE ROLE maker LOGIN; GRANT CREATE ON SCHEMA public TO maker; GRANT USAGE ON SCHEMA prm TO maker');
sql($node, 'two', "SELECT set_config('prm.program_id', prm.create_program('Own', 'blank')::text, false); SELECT prm.define_machine('visit', '$machine')", user => 'keeper');
sql($node, 'two', 'CREATE TABLE public.visit (id integer PRIMARY KEY, state text NOT NULL DEFAULT $$open$$)', user => 'maker');
fails($node, 'two', q{SELECT prm.attach_machine('public.visit', 'visit', program_id => 1)}, '42501',
	qr/HINT:  Let its owner run GRANT SELECT, UPDATE, TRIGGER ON public\.visit TO keeper/, 'the owner of the table must agree', user => 'keeper');
sql($node, 'two', 'GRANT SELECT, UPDATE, TRIGGER ON public.visit TO keeper', user => 'maker');
sql($node, 'two', q{SELECT prm.attach_machine('public.visit', 'visit', program_id => 1)}, user => 'keeper');
sql($node, 'two', 'INSERT INTO public.visit VALUES (1), (2); UPDATE public.visit SET state = $$busy$$', user => 'maker');
is(sql($node, 'two', q{SELECT string_agg(subject_id || ' ' || to_state || ' ' || actor, ', ' ORDER BY history_id) FROM prm.state_history WHERE machine = 'visit'}, user => 'keeper'),
	'1 open maker, 2 open maker, 1 busy maker, 2 busy maker', 'who may write the table needs no right on the history');
fails($node, 'two', q{SELECT prm.detach_machine('public.visit', 1)}, '42501', qr/HINT:  Let its owner drop the triggers/,
	'only the owner of the table drops its triggers', user => 'keeper');

unlike(slurp_file($node->logfile), qr/WARNING:/, 'no warning in the log of the server');
done_testing();
