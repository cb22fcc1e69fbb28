# What the benchmarks of earning share. Sourced by test/bench/earning*.sh.
#
# A programme with 5,000 partners, 500 customers, 20 products and a plan of 40 rules: by product and tier, by product, by region and kind, by customer, by
# kind of deal, one for all, and a second component with brackets. The floor stands in schemas of its own: twins of prm.earning_event and prm.ledger (columns,
# keys, indexes, checks and foreign keys, no triggers), into which the same rows go by bare inserts. Each measurement is a session and a transaction of its own
# that is rolled back; the variants of a round follow each other in alternating order; a ratio is taken per round and the median counts. That both wrote the
# same entries is compared, by number, sum and checksum, in every round.
#   PGHOST, PGUSER ... name a server where prm is installed; all of it happens in a database of its own, which is dropped.
psql() { command psql -X -q -A -t -v ON_ERROR_STOP=1 "$@"; }
partners=${partners:-5000}

bench_name=prm_bench_earning
bench_database() { PGDATABASE=postgres psql -c "SET client_min_messages = warning" -c "DROP DATABASE IF EXISTS $bench_name WITH (FORCE)" "$@"; }
bench_begin() {      # [customers with a rule of their own, 4; 2 make room for two rules that count]
  bench_database -c "CREATE DATABASE $bench_name"
  trap 'rm -rf "${scratch:-}"; bench_database' EXIT
  scratch=${scratch:-$(mktemp -d)}
  export PGDATABASE=$bench_name
  psql >/dev/null <<SQL
SET client_min_messages = warning;
CREATE EXTENSION prm;
SELECT prm.install();
CREATE SCHEMA prm_bench;
CREATE TABLE prm_bench.result (name text, round int, kind text, cost numeric, digest text);
CREATE TABLE prm_bench.setting AS SELECT prm.create_program('bench earning', 'blank') AS program_id;
SELECT set_config('prm.program_id', program_id::text, false) FROM prm_bench.setting;
INSERT INTO prm.ladder (ladder, label) VALUES ('main', 'Main') ON CONFLICT DO NOTHING;
INSERT INTO prm.tier (tier, rank, label) VALUES ('bronze', 1, 'Bronze'), ('silver', 2, 'Silver'), ('gold', 3, 'Gold');
INSERT INTO prm.partner_kind (kind, label) VALUES ('reseller', 'Reseller'), ('hub', 'Hub') ON CONFLICT DO NOTHING;
INSERT INTO prm.product (product, label, family) SELECT 'p' || n, 'Product ' || n, 'f' || n % 4 FROM generate_series(0, 19) n;
INSERT INTO prm.customer (customer_id, name, country) SELECT n, 'Customer ' || n, CASE n % 3 WHEN 0 THEN 'US' ELSE 'DE' END FROM generate_series(1, 500) n;
INSERT INTO prm.partner (partner_id, name, kind, region) SELECT n, 'Partner ' || n, CASE n % 9 WHEN 0 THEN 'hub' ELSE 'reseller' END, CASE n % 7 WHEN 0 THEN 'north' WHEN 1 THEN 'south' ELSE 'west' END
  FROM generate_series(1, $partners) n;
DELETE FROM prm.partner_history;
INSERT INTO prm.partner_history (partner_id, valid, kind, region, tier)
  SELECT partner_id, r, kind, region, (ARRAY['bronze', 'silver', 'gold'])[1 + (partner_id + i) % 3] FROM prm.partner,
    (VALUES (0, tstzrange(NULL, '2026-02-01Z')), (1, tstzrange('2026-02-01Z', NULL))) v(i, r);
INSERT INTO prm.commission_plan (plan_id, name, currency, hold_days) VALUES (1, 'bench', 'USD', 30);
INSERT INTO prm.commission_rule (plan_id, product, tier, schedule) SELECT 1, 'p' || n, t, (5 + n + i) || '%' FROM generate_series(0, 7) n, unnest(ARRAY['silver', 'gold']) WITH ORDINALITY AS u(t, i);
INSERT INTO prm.commission_rule (plan_id, product, schedule) SELECT 1, 'p' || n, 'marginal 0: ' || (3 + n % 5) || '%, 500: 10%' FROM generate_series(0, 9) n;
INSERT INTO prm.commission_rule (plan_id, region, partner_kind, schedule) SELECT 1, r, k, '7.5%' FROM unnest(ARRAY['north', 'south']) r, unnest(ARRAY['reseller', 'hub']) k;
INSERT INTO prm.commission_rule (plan_id, customer_id, schedule) SELECT 1, n * 100, '2.25%' FROM generate_series(1, ${1:-4}) n;
INSERT INTO prm.commission_rule (plan_id, deal_kind, schedule) VALUES (1, 'renewal', '1%'), (1, 'upsell', '4%');
INSERT INTO prm.commission_rule (plan_id, tier, schedule) VALUES (1, 'gold', '6%');
INSERT INTO prm.commission_rule (plan_id, schedule) VALUES (1, '5%');
INSERT INTO prm.commission_rule (plan_id, component, product_family, schedule) VALUES (1, 'bonus', 'f1', 'slab 0: 0, 400: 2%, 800: 3%'), (1, 'bonus', 'f2', 'interpolated 0: 0, 500: 5, 900: 20');
-- What an entry says, as a number that does not depend on the order of the rows nor on when it was written.
CREATE FUNCTION prm_bench.digest(schema_name text) RETURNS text LANGUAGE plpgsql AS \$\$
DECLARE the_digest text;
BEGIN
  EXECUTE format('SELECT count(*) || '' '' || coalesce(sum(amount), 0) || '' '' || coalesce(sum(hashtextextended(concat_ws(''|'', partner_id, kind, component, amount, currency, earning_event_id, credit_type, plan_id, rule_id,
    lineage_id, level, earned_on, eligible_at, idempotency_key), 0) %% 1000000007), 0) FROM %I.ledger WHERE earning_event_id BETWEEN 1000000 AND 1999999', schema_name) INTO the_digest;
  RETURN the_digest;
END \$\$;
SQL
  p=$(psql -c "SELECT program_id FROM prm_bench.setting")
  if [ "${1:-4}" = 2 ]; then
    psql -c "INSERT INTO prm.commission_rule (program_id, plan_id, component, schedule, accumulate, window_kind) VALUES ($p, 1, 'volume', 'marginal 0: 0.5%, 2000: 1%, 5000: 2%', 'cumulative', 'month')" \
      -c "INSERT INTO prm.commission_rule (program_id, plan_id, component, schedule, cap_amount, cap_window) VALUES ($p, 1, 'sprint', '1%', 40, 'month')"
  fi
  rules=$(psql -c "SELECT count(*) FROM prm.commission_rule")
}

# Resellers below hubs, that are paid on their sales; and conditions. Four rules, in the place of those for customers.
make_channel() {
  psql >/dev/null <<SQL
SELECT set_config('prm.program_id', '$p', false);
UPDATE prm.partner SET parent_id = partner_id - partner_id % 9 WHERE partner_id % 9 > 0 AND partner_id > 9;
UPDATE prm.partner_history SET parent_id = partner_id - partner_id % 9 WHERE partner_id % 9 > 0 AND partner_id > 9;
INSERT INTO prm.commission_rule (plan_id, component, level, schedule) VALUES (1, 'hub', 1, '2%');
INSERT INTO prm.commission_rule (plan_id, component, level, product_family, schedule) VALUES (1, 'hub', 1, 'f2', '3%');
INSERT INTO prm.commission_rule (plan_id, component, condition, schedule) VALUES (1, 'large', '\$.event.amount > 900 && \$.customer.country == "US"', '1%'), (1, 'renewed', '\$.event.deal_kind == "renewal" && \$.event.quantity < 5', 'slab 0: 1');
SQL
  rules=$(psql -c "SELECT count(*) FROM prm.commission_rule")
}

# The events to come, in the order in which they occurred and in no order of partners; numbered, so that the same entries come of them everywhere.
make_source() {      # ROWS
  psql >/dev/null <<SQL
CREATE TABLE prm_bench.source AS
  SELECT $p::bigint AS program_id, 1000000 + i AS earning_event_id, 'booked' AS kind, 1 + (i::bigint * 7919) % $partners AS partner_id, 1 + i % 500 AS customer_id, 'p' || i % 20 AS product, 'f' || i % 4 AS product_family,
    (ARRAY['new', 'new', 'renewal', 'upsell'])[1 + i % 4] AS deal_kind, 1 AS quantity, ((i::bigint * 104729) % 100000) / 100.0 AS amount, 'USD' AS currency, '2026-01-01Z'::timestamptz + (i % 80) * interval '1 day' AS occurred_at
  FROM generate_series(1, $1) i ORDER BY occurred_at, earning_event_id;
ANALYZE prm_bench.source;
SQL
}
event_columns="program_id, earning_event_id, kind, partner_id, customer_id, product, product_family, deal_kind, quantity, amount, currency, occurred_at"
insert_events() {    # SCHEMA
  echo "INSERT INTO $1.earning_event ($event_columns) SELECT $event_columns FROM prm_bench.source;"
}

make_twin() {        # SCHEMA...: empty twins with the foreign keys of the originals, pointing to each other and to the same definitions
  local schema
  for schema in "$@"; do
    psql >/dev/null <<SQL
SET client_min_messages = warning;
CREATE SCHEMA IF NOT EXISTS $schema;
CREATE TABLE $schema.earning_event (LIKE prm.earning_event INCLUDING ALL);
CREATE TABLE $schema.ledger (LIKE prm.ledger INCLUDING ALL);
CREATE TABLE $schema.deal (LIKE prm.deal INCLUDING ALL);
CREATE TABLE $schema.state_history (LIKE prm.state_history INCLUDING ALL);
DO \$\$ DECLARE the_key record; BEGIN
  FOR the_key IN SELECT c.conrelid::regclass::text AS name, pg_get_constraintdef(c.oid) AS definition FROM pg_constraint c
    WHERE c.conrelid IN ('prm.earning_event'::regclass, 'prm.ledger'::regclass, 'prm.deal'::regclass, 'prm.state_history'::regclass) AND c.contype = 'f' LOOP
    EXECUTE format('ALTER TABLE %s ADD %s', replace(the_key.name, 'prm.', '$schema.'),
      regexp_replace(the_key.definition, 'REFERENCES prm\.(earning_event|ledger|deal)\(', 'REFERENCES $schema.\1('));
  END LOOP;
END \$\$;
SQL
  done
}
ledger_columns() { psql -c "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'prm.ledger'::regclass AND attnum > 0 AND NOT attisdropped"; }

# What the engine makes of the source, kept for the floor.
keep_entries() {
  local columns; columns=$(ledger_columns)
  psql >/dev/null <<SQL
SELECT set_config('prm.program_id', '$p', false);
BEGIN;
$(insert_events prm)
\copy (SELECT $columns FROM prm.ledger WHERE earning_event_id BETWEEN 1000000 AND 1999999 ORDER BY entry_id) TO '$scratch/entries'
ROLLBACK;
CREATE TABLE prm_bench.entries AS SELECT $columns FROM prm.ledger LIMIT 0;
\copy prm_bench.entries FROM '$scratch/entries'
ANALYZE prm_bench.entries;
VACUUM prm.earning_event;
VACUUM prm.ledger;
SQL
}
insert_entries() {   # SCHEMA
  echo "INSERT INTO $1.ledger SELECT * FROM prm_bench.entries;"
}

# NAME ROUND KIND SCHEMA STATEMENTS: the milliseconds of the statements.
measure() {
  local answer
  answer=$(psql <<SQL | tail -1
SELECT set_config('prm.program_id', '$p', false) AS ignored \gset
CHECKPOINT;
BEGIN;
SELECT clock_timestamp() AS began \gset
$5
SELECT extract(epoch FROM clock_timestamp() - :'began') * 1000 AS ms \gset
SELECT :ms || ' ' || prm_bench.digest('$4');
ROLLBACK;
VACUUM $4.earning_event;
VACUUM $4.ledger;
SQL
)
  psql -c "INSERT INTO prm_bench.result VALUES ('$1', $2, '$3', ${answer%% *}, '${answer#* }')"
}

# NAME ROUNDS then KIND SCHEMA STATEMENTS for each variant; round 0 warms up and does not count.
interleave() {
  local name=$1 rounds=$2 round i variants=() order; shift 2
  variants=("$@")
  for ((round = 0; round <= rounds; round++)); do
    order=()
    for ((i = 0; i < ${#variants[@]}; i += 3)); do
      if ((round % 2)); then order+=("$i"); else order=("$i" "${order[@]}"); fi
    done
    for i in "${order[@]}"; do measure "$name" "$round" "${variants[i]}" "${variants[i + 1]}" "${variants[i + 2]}"; done
  done
}

# NAME LINE KIND FLOOR SIGN GOAL: the line of the result; what is wanted is KIND/FLOOR at most or at least the goal. Entries that differ are a failure.
report() {
  psql <<SQL
SELECT 'bench $2 FAILED: the entries differ: ' || string_agg(DISTINCT kind || '=' || digest, ' ') FROM prm_bench.result
  WHERE name = '$1' AND kind IN ('$3', '$4') HAVING count(DISTINCT digest) <> 1 OR min(digest) LIKE '0 %';
SELECT format('bench %s ratio=%s goal$5%s %s', '$2', round(r, 2), '$6', CASE WHEN r $5 $6 THEN 'ok' ELSE 'short' END)
  FROM (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY a.cost / b.cost)::numeric AS r
        FROM prm_bench.result a JOIN prm_bench.result b USING (name, round) WHERE a.name = '$1' AND a.kind = '$3' AND b.kind = '$4' AND round > 0) x;
SELECT format('  rounds: %s (%s / %s)', string_agg(round(a.cost, CASE WHEN a.cost < 100 THEN 2 ELSE 0 END) || '/' || round(b.cost, CASE WHEN b.cost < 100 THEN 2 ELSE 0 END), ' ' ORDER BY round), '$3', '$4')
  FROM prm_bench.result a JOIN prm_bench.result b USING (name, round) WHERE a.name = '$1' AND a.kind = '$3' AND b.kind = '$4' AND round > 0;
SQL
}
