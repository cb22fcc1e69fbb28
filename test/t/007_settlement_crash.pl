# The server is killed while it settles: the backend by SIGKILL, at several moments of a close, which takes all others with it.
# Afterwards the close is there altogether or not at all, the books are sound, and closing again settles each entry once.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use IPC::Run ();
use Test::More;
use Time::HiRes qw(sleep time);
use PrmTest;

my $node = new_server('settle', $ENV{PRM_DEST});
$node->append_conf('postgresql.conf', "restart_after_crash = on\nlog_min_messages = panic\n");
$node->restart;
my $psql = PrmTest::pg_config('bindir') . '/psql';
$node->safe_psql('postgres', 'CREATE DATABASE settle');
sql($node, 'settle', 'CREATE EXTENSION prm; SELECT prm.install()');
sql($node, 'settle', <<'SQL');
SELECT set_config('prm.program_id', prm.create_program('Crash', 'blank')::text, false);
SET prm.clock = '2025-01-10 12:00+00';
INSERT INTO prm.settlement_profile (auto_approve) VALUES (true);
INSERT INTO prm.partner (name) SELECT 'Partner ' || n FROM generate_series(1, 200) n;
INSERT INTO prm.ledger (partner_id, kind, amount, currency, earned_on, eligible_at, idempotency_key)
  SELECT p.partner_id, 'commission', 1 + n * 0.01, 'USD', d.day, d.day::timestamp AT TIME ZONE 'UTC', p.partner_id || '/' || n
  FROM prm.partner p CROSS JOIN generate_series(1, 120) n CROSS JOIN LATERAL (SELECT date '2025-01-01' + n AS day) d;
SQL

my $work = q{SET prm.clock = '2025-06-01 12:00+00'; SELECT count(*) FROM prm.close_period('2025-05-31'); SELECT count(*) FROM prm.create_payouts(); }
  . q{SELECT count(prm.settle_payout(payout_id, 'paid')) FROM prm.payout WHERE state = 'pending';};
my $books = q{SELECT (SELECT sum(amount) FROM prm.ledger WHERE kind <> 'payout') = coalesce((SELECT sum(total) FROM prm.statement), 0) + coalesce((SELECT sum(amount) FROM prm.ledger_open), 0)};

sub answers
{
	my $end = time + 60;
	while (time < $end)
	{
		return 1 if $node->psql('settle', 'SELECT 1', timeout => 20) == 0;
		sleep 0.1;
	}
	return 0;
}

my $killed = 0;
my $took = time;
is($node->psql('settle', "BEGIN; $work ROLLBACK;"), 0, 'all of it, undone');
$took = time - $took;
for my $share (0.1, 0.35, 0.6, 0.85)
{
	my ($out, $error, $pid) = ('', '');
	my $session = IPC::Run::start([ $psql, '-X', '-q', '-A', '-t', '-h', $node->host, '-p', $node->port, 'settle', '-c', "SET application_name = 'victim'", '-c', $work ], '>', \$out, '2>', \$error);
	sleep $took * $share;
	$pid = sql($node, 'settle', q{SELECT pid FROM pg_stat_activity WHERE application_name = 'victim'});
	$killed += kill 'KILL', $pid if $pid;
	eval { $session->finish; };
	ok(answers(), "killed at $share: the server is back");
	is(sql($node, 'settle', $books), 't', "killed at $share: statements and what is open are the ledger");
	is(sql($node, 'settle', 'SELECT * FROM prm._audit_settlement(1)'), '', "killed at $share: the books are sound");
}
cmp_ok($killed, '>', 0, 'it was killed at work');
is($node->psql('settle', $work), 0, 'once more');
is(sql($node, 'settle', 'SELECT count(*), count(DISTINCT (statement_id, entry_id)), sum(amount) = (SELECT sum(total) FROM prm.statement) FROM prm.statement_line'), '24000|24000|t', 'each entry stands on one statement');
is(sql($node, 'settle', q{SELECT count(*), sum(amount) FROM prm.ledger_open}), '0|', 'nothing is left open');
is(sql($node, 'settle', q{SELECT sum(amount) FROM prm.ledger}), '0.00', 'all of it is paid, once');
is(sql($node, 'settle', 'SELECT * FROM prm._audit_settlement(1)'), '', 'the books are sound');
$node->stop;
done_testing();
