# The server is killed while clients earn: a backend by SIGKILL, which takes all others with it, and in the end the postmaster. What was committed
# before is whole: each event has its entries, counts are the sums of their steps, and computing everything again finds nothing.
# The processes die, not the machine, so the server needs no fsync for this.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use PrmTest;

my $node = new_server('crash', $ENV{PRM_DEST});
$node->append_conf('postgresql.conf', "restart_after_crash = on\nmax_connections = 40\nlog_min_messages = panic\n");
$node->restart;
my $bin = PrmTest::pg_config('bindir');
$node->safe_psql('postgres', 'CREATE DATABASE crash');
sql($node, 'crash', 'CREATE EXTENSION prm; SELECT prm.install()');

# Rules that share rows (a window of each partner, a cap of the programme, the first sale of a pair) and rules that share none; an upline; refunds.
sql($node, 'crash', <<'SQL');
SELECT set_config('prm.program_id', prm.create_program('Crash', 'blank')::text, false);
INSERT INTO prm.partner (partner_id, name, parent_id) VALUES (1, 'Partner 1', NULL);
INSERT INTO prm.partner (partner_id, name, parent_id) SELECT n, 'Partner ' || n, 1 FROM generate_series(2, 6) n;
DELETE FROM prm.partner_history;
INSERT INTO prm.partner_history (partner_id, valid, kind, parent_id) SELECT partner_id, tstzrange(NULL, NULL), kind, parent_id FROM prm.partner;
INSERT INTO prm.customer (customer_id, name) SELECT n, 'Customer ' || n FROM generate_series(1, 500) n;
INSERT INTO prm.commission_plan (plan_id, name, currency) VALUES (1, 'plan', 'USD');
INSERT INTO prm.commission_rule (plan_id, component, schedule, accumulate, window_kind, level, override_mode, recurring_months, cap_amount, cap_scope, cap_window) VALUES
  (1, 'plain', '5%', 'transaction', NULL, 0, NULL, NULL, NULL, NULL, NULL),
  (1, 'window', 'marginal 0: 1%, 5000: 2.5%, 20000: 3.33%', 'cumulative', 'month', 0, NULL, NULL, NULL, NULL, NULL),
  (1, 'cap', '3%', 'transaction', NULL, 0, NULL, NULL, 700, 'partner', 'month'),
  (1, 'all', '1%', 'transaction', NULL, 0, NULL, NULL, 1000, 'programme', 'lifetime'),
  (1, 'first', '9%', 'transaction', NULL, 0, NULL, 0, NULL, NULL, NULL),
  (1, 'plain', '50%', 'transaction', NULL, 1, 'percent_of_below', NULL, NULL, NULL, NULL);
SQL

# Single events, small batches in one transaction that lingers, refunds of what is there, and won deals.
my %script = (
	event => "\\set p random(1, 6)\n\\set c random(1, 500)\n\\set a random(1, 90000)\n\\set d random(0, 80)\n"
	  . "INSERT INTO prm.earning_event (program_id, kind, partner_id, customer_id, amount, currency, occurred_at) VALUES (1, 'booked', :p, :c, :a / 100.0, 'USD', '2026-01-01'::timestamptz + :d * interval '1 day');\n",
	batch => "\\set p random(1, 6)\nBEGIN;\nINSERT INTO prm.earning_event (program_id, kind, partner_id, customer_id, amount, currency, occurred_at) "
	  . "SELECT 1, 'booked', 1 + (:p + n) % 6, 1 + (:p * n) % 500, 100 + n, 'USD', '2026-01-01'::timestamptz + n * interval '1 day' FROM generate_series(1, 40) n;\n\\sleep 20 ms\nCOMMIT;\n",
	refund => "DO \$\$ BEGIN INSERT INTO prm.earning_event (program_id, kind, applies_to_id, amount, currency, occurred_at) SELECT 1, 'refunded', e.earning_event_id, -e.amount, 'USD', e.occurred_at + interval '1 day' "
	  . "FROM prm.earning_event e WHERE e.program_id = 1 AND e.kind = 'booked' AND NOT EXISTS (SELECT 1 FROM prm.refund_total t WHERE t.program_id = 1 AND t.earning_event_id = e.earning_event_id) ORDER BY random() LIMIT 1; EXCEPTION WHEN check_violation THEN NULL; END \$\$;\n",
	deal => "\\set p random(1, 6)\n\\set a random(1, 90000)\nINSERT INTO prm.deal (program_id, partner_id, name, amount, currency) VALUES (1, :p, 'deal', :a / 100.0, 'USD') RETURNING deal_id \\gset\n"
	  . "UPDATE prm.deal SET state = 'won' WHERE program_id = 1 AND deal_id = :deal_id;\n");
my $folder = "$PostgreSQL::Test::Utils::tmp_check/crash_scripts";
mkdir $folder;
append_to_file("$folder/$_", $script{$_}) for keys %script;

sub load
{
	my @clients;
	for my $name (qw(event event batch refund deal))
	{
		my $quiet = '';
		push @clients, IPC::Run::start([ "$bin/pgbench", '-n', '-c', 2, '-T', 25, '--max-tries=5', '-f', "$folder/$name", '-h', $node->host, '-p', $node->port, 'crash' ], '>', \$quiet, '2>', \$quiet);
	}
	return @clients;
}

sub answers
{
	my $end = time + 60;
	while (time < $end)
	{
		return 1 if $node->psql('crash', 'SELECT 1', timeout => 20) == 0;
		sleep 0.1;
	}
	return 0;
}

sub whole
{
	my ($when) = @_;
	sql($node, 'crash', 'ANALYZE');
	is(sql($node, 'crash', 'SELECT * FROM prm.audit_ledger()'), '', "$when: audit_ledger() finds nothing");
	is(sql($node, 'crash', q{SELECT * FROM prm.recalculate('2000-01-01', '2100-01-01', true)}), '', "$when: recalculate() finds nothing");
	is(sql($node, 'crash', <<'SQL'), '0', "$when: each count is the sum of its steps");
SELECT count(*) FROM prm.accumulator a
LEFT JOIN (SELECT purpose, lineage_id, plan_id, partner_id, customer_id, credit_type, window_start, sum(amount) AS amount, count(*) AS entries FROM prm.accumulator_entry GROUP BY 1, 2, 3, 4, 5, 6, 7) e
  USING (purpose, lineage_id, plan_id, partner_id, customer_id, credit_type, window_start)
WHERE a.amount <> coalesce(e.amount, 0) OR a.entries <> coalesce(e.entries, 0)
SQL
	is(sql($node, 'crash', q{SELECT count(*) FROM prm.earning_event e WHERE e.kind = 'booked' AND NOT EXISTS (SELECT 1 FROM prm.ledger l WHERE l.program_id = e.program_id AND l.earning_event_id = e.earning_event_id) AND e.amount >= 0.1}),
		'0', "$when: no event without its entries");
	is(sql($node, 'crash', q{SELECT count(*) FROM prm.deal d WHERE d.state = 'won' AND (SELECT count(*) FROM prm.earning_event e WHERE e.program_id = d.program_id AND e.deal_id = d.deal_id AND e.kind = 'booked') <> 1}),
		'0', "$when: each won deal is booked once");
	is(sql($node, 'crash', q{SELECT sum(amount) <= 1000 FROM prm.ledger WHERE component = 'all'}), 't', "$when: the cap of the programme holds");
	return;
}

my $before = 0;
for my $round (1 .. 2)
{
	my @clients = load();
	my $patience = time + 30;
	sleep 0.2 while sql($node, 'crash', q{SELECT count(*) FROM prm.ledger}) < $before + 1500 && time < $patience;
	# One that is in the middle of something.
	my $victim = sql($node, 'crash', q{SELECT pid FROM pg_stat_activity WHERE datname = 'crash' AND pid <> pg_backend_pid() AND state <> 'idle' ORDER BY xact_start DESC LIMIT 1});
	ok($victim =~ /^\d+$/ && kill('KILL', $victim), "round $round: a backend is killed");
	$_->finish for @clients;
	ok(answers(), "round $round: the server comes back");
	my $now = sql($node, 'crash', q{SELECT count(*) FROM prm.ledger});
	cmp_ok($now, '>=', $before + 100, "round $round: something was earned: $now entries");
	$before = $now;
	whole("round $round");
}

my @clients = load();
sleep 3;
$node->stop('immediate');
$_->finish for @clients;
$node->start;
ok(answers(), 'the server starts again');
whole('after an immediate stop');
# Work goes on.
sql($node, 'crash', q{INSERT INTO prm.customer (customer_id, name) VALUES (501, 'New'); INSERT INTO prm.earning_event (program_id, kind, partner_id, customer_id, amount, currency, occurred_at) VALUES (1, 'booked', 3, 501, 1000, 'USD', '2026-05-01')});
is(sql($node, 'crash', q{SELECT string_agg(component || ' ' || amount, ', ' ORDER BY level, component COLLATE "C") FROM prm.ledger WHERE earning_event_id = (SELECT max(earning_event_id) FROM prm.earning_event) AND component <> 'all'}),
	'cap 30.00, first 90.00, plain 50.00, window 10.00, plain 25.00', 'and goes on earning');
whole('at the end');
done_testing();
