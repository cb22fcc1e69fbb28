#!/usr/bin/env bash
# Tiers: how long a full evaluation of a programme takes against the sum of its deals.
#   test/bench/tier.sh [deals] [partners] [rounds]     PGHOST, PGUSER ... name a server that knows the extension
# The floor is sum(amount) GROUP BY partner_id over the deals, without any condition. The ratio to a sum over those that count (of the
# programme, won, in its currency, closed within the last 12 months: all deals here are such), as anybody would write it by hand,
# is shown beside it. The evaluation is
# evaluate_tiers() of everybody on the ladder of the template reseller, its requirements on certificates aside: five tiers, revenue
# and deals won. It is the evaluation of a settled programme: everybody has been evaluated once, so it finds who is where and why,
# and writes nothing. Rounds of both in turn in one session, without parallel workers; the ratio is taken per round and the median
# counts. Before that the first evaluation, which promotes, is checked against the sums. In a database of its own, dropped at the end.
set -eu
deals=${1:-2000000} partners=${2:-2000} rounds=${3:-7}
database=prm_bench_tier
psql() { command psql -X -q -A -t -v ON_ERROR_STOP=1 "$@"; }
drop() { PGOPTIONS="-c client_min_messages=warning" psql -d postgres -c "DROP DATABASE IF EXISTS $database WITH (FORCE)"; }
trap drop EXIT
drop
psql -d postgres -c "CREATE DATABASE $database"
export PGDATABASE=$database
psql >/dev/null <<SQL
CREATE EXTENSION prm;
SELECT prm.install();
SELECT prm.create_program('bench', 'reseller', 'EUR');
DELETE FROM prm.tier_requirement WHERE metric = 'certified_people';
INSERT INTO prm.partner (partner_id, name) SELECT i, 'Partner ' || i FROM generate_series(1, $partners) i;
-- No triggers: what recording costs is measured elsewhere.
SET session_replication_role = replica;
INSERT INTO prm.deal (partner_id, name, amount, currency, state, created_at, closed_at, product_family)
  SELECT 1 + i % $partners, 'Deal ' || i, round((random() * random() * 400000 * $partners / $deals * (1 + i % $partners % 7) + 1)::numeric, 2), 'EUR', 'won', t.at, t.at, 'suite'
  FROM generate_series(1, $deals) i CROSS JOIN LATERAL (SELECT now() - random() * interval '364 days' AS at) t;
SET session_replication_role = origin;
VACUUM ANALYZE;
SQL
psql <<SQL
SELECT count(*) AS evaluated FROM prm.evaluate_tiers() \gset
SELECT 'evaluated $partners partners: ' || string_agg(tier || ' ' || n, ', ') FROM (SELECT tier, count(*) AS n FROM prm.partner GROUP BY 1 ORDER BY 1) x;
-- What it gave is what the sums say.
SELECT count(*) AS wrong FROM prm.partner p
  JOIN (SELECT d.partner_id, sum(d.amount) AS revenue, count(*) AS won FROM prm.deal d GROUP BY 1) s USING (partner_id)
  WHERE p.tier IS DISTINCT FROM (SELECT t.tier FROM prm.tier t WHERE t.tier = 'registered' OR EXISTS (SELECT 1 FROM prm.tier_requirement r WHERE r.tier = t.tier) AND NOT EXISTS (
    SELECT 1 FROM prm.tier_requirement r WHERE r.tier = t.tier AND CASE r.metric WHEN 'revenue_12m' THEN s.revenue ELSE s.won END < r.threshold) ORDER BY t.rank DESC LIMIT 1) \gset
SELECT 1 / (:wrong = 0 AND :evaluated = $partners)::int AS checked \gset
VACUUM ANALYZE;
SQL
psql >/tmp/prm_bench_tier.$$ <<SQL
SET max_parallel_workers_per_gather = 0;
SET jit = off;
CREATE TEMP TABLE result (round int, kind text, cost numeric);
DO \$\$
DECLARE began timestamptz; k text; the_program bigint := prm.current_program(); the_now timestamptz := prm.now(); the_start timestamptz := prm.now() - interval '1 year';
BEGIN
  FOR r IN 0 .. $rounds LOOP
    FOREACH k IN ARRAY CASE WHEN r % 2 = 0 THEN ARRAY['floor', 'tiers', 'counting'] ELSE ARRAY['counting', 'tiers', 'floor'] END LOOP
      began := clock_timestamp();
      IF k = 'floor' THEN
        PERFORM d.partner_id, sum(d.amount) FROM prm.deal d GROUP BY d.partner_id;
      ELSIF k = 'counting' THEN
        PERFORM d.partner_id, sum(d.amount) FROM prm.deal d
          WHERE d.program_id = the_program AND d.state = 'won' AND d.currency = 'EUR' AND d.closed_at > the_start AND d.closed_at <= the_now
          GROUP BY d.partner_id;
      ELSE
        PERFORM * FROM prm.evaluate_tiers();
      END IF;
      INSERT INTO result SELECT r, k, extract(epoch FROM clock_timestamp() - began) WHERE r > 0;
    END LOOP;
  END LOOP;
END \$\$;
SELECT round(percentile_cont(0.5) WITHIN GROUP (ORDER BY t.cost / f.cost)::numeric, 2), round(min(t.cost), 3), round(min(f.cost), 3),
    round(percentile_cont(0.5) WITHIN GROUP (ORDER BY t.cost / b.cost)::numeric, 2)
  FROM result t JOIN result f USING (round) JOIN result b USING (round) WHERE t.kind = 'tiers' AND f.kind = 'floor' AND b.kind = 'counting';
SQL
IFS='|' read -r ratio ours floor counting < <(tail -1 /tmp/prm_bench_tier.$$)
rm -f /tmp/prm_bench_tier.$$
echo "bench tier ratio=$ratio goal<=1.3 (full evaluation of $deals deals of $partners partners; best $ours s against $floor s; $counting times the sum of those that count)"
psql -c "SELECT 1 / (($ratio <= 1.3)::int)" >/dev/null 2>&1 || { echo "FAILED: the limit is exceeded"; exit 1; }
