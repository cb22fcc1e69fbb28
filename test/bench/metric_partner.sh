#!/usr/bin/env bash
# One partner among many: its metrics and its evaluation where the programme has two million deals, against the same where it has 200,000. Every partner has
# as many deals, leads, people and certificates as every other, so that what grows is only what lies around it. Two databases, one for each size, filled without
# triggers; calls of both follow each other in turns, each turn in a session of its own that is warm before it is timed; the median of the ratios counts.
#   test/bench/metric_partner.sh [small] [big] [rounds] [calls]     PGHOST, PGUSER ... name a server where prm is installed
set -eu
small=${1:-200000} big=${2:-2000000} rounds=${3:-7} calls=${4:-150}
psql() { command psql -X -q -A -t -v ON_ERROR_STOP=1 "$@"; }
drop() { for size in small big; do PGOPTIONS="-c client_min_messages=warning" psql -d postgres -c "DROP DATABASE IF EXISTS prm_bench_metric_$size WITH (FORCE)"; done; }
trap drop EXIT
drop
fill() {          # NAME DEALS: a hundred deals for each partner, over two years
  psql -d postgres -c "CREATE DATABASE prm_bench_metric_$1"
  psql -d "prm_bench_metric_$1" >/dev/null <<SQL
SET client_min_messages = warning;
CREATE EXTENSION prm;
SELECT prm.install();
SELECT set_config('prm.program_id', prm.create_program('bench', 'reseller')::text, false);
SET prm.clock = '2026-07-01 12:00+00';
SET session_replication_role = replica;
INSERT INTO prm.partner (partner_id, name, state, tier, joined_on) SELECT i, 'Partner ' || i, 'active', 'silver', '2024-01-01' FROM generate_series(1, $2 / 100) i;
INSERT INTO prm.enrolment (partner_id, tier, qualified_tier, effective_on) SELECT partner_id, 'silver', 'silver', '2026-01-01' FROM prm.partner;
INSERT INTO prm.deal (partner_id, name, amount, currency, state, created_at, closed_at)
  SELECT 1 + i % ($2 / 100), 'Deal ' || i, 1000, 'USD', CASE i / ($2 / 100) % 4 WHEN 0 THEN 'lost' ELSE 'won' END, d.day - interval '30 days', d.day
  FROM generate_series(0, $2 - 1) i CROSS JOIN LATERAL (SELECT timestamptz '2024-07-01 00:00+00' + i / ($2 / 100) * interval '7 days 7 hours' AS day) d;
INSERT INTO prm.lead (lead_id, partner_id, company, state, created_at) SELECT i, 1 + i % ($2 / 100), 'Company ' || i, 'approved', '2026-05-01' FROM generate_series(0, $2 / 10 - 1) i;
INSERT INTO prm.state_history (machine, machine_version, subject_id, event, from_state, to_state, actor, actor_kind, at)
  SELECT 'lead', 1, lead_id, e.event, e.from_state, e.to_state, 'bench', 'partner', created_at + e.later FROM prm.lead
  CROSS JOIN (VALUES ('qualify', 'new', 'partner_qualified', interval '5 hours'), ('approve', 'partner_qualified', 'approved', interval '2 days')) e(event, from_state, to_state, later);
INSERT INTO prm.partner_user (partner_user_id, partner_id, name) SELECT i, 1 + i % ($2 / 100), 'Person ' || i FROM generate_series(0, $2 / 20 - 1) i;
INSERT INTO prm.certificate (partner_user_id, partner_id, certification, issued_on) SELECT partner_user_id, partner_id, 'sales', '2026-01-01' FROM prm.partner_user WHERE partner_user_id % 3 = 0;
SET session_replication_role = origin;
VACUUM ANALYZE;
SQL
}
measure() {       # NAME CALL: the median of the calls, milliseconds; and what the last of them said
  psql -d "prm_bench_metric_$1" <<SQL
SET client_min_messages = warning;
SET prm.clock = '2026-07-01 12:00+00';
CREATE TEMP TABLE took (ms numeric);
DO \$\$ DECLARE began timestamptz; BEGIN
  FOR i IN 1 .. $calls LOOP
    began := clock_timestamp();
    PERFORM * FROM $2;
    IF i > $calls / 3 THEN INSERT INTO took VALUES (extract(epoch FROM clock_timestamp() - began) * 1000); END IF;
  END LOOP; END \$\$;
SELECT round(percentile_cont(0.5) WITHIN GROUP (ORDER BY ms)::numeric, 4) || ' ' || (SELECT md5(string_agg(r::text, '|' ORDER BY r::text)) FROM $(printf '%s' "$2" | sed 's/i % 1000 + 1/7/') r) FROM took;
SQL
}
fill small "$small"
fill big "$big"
psql -d prm_bench_metric_small -c "CREATE TABLE public.result (name text, round int, size text, ms numeric)" -c "CHECKPOINT"
for name in metrics tiers; do
  case $name in metrics) call="prm.partner_metrics(i % 1000 + 1)" ;; tiers) call="prm.evaluate_tiers(i % 1000 + 1)" ;; esac
  for ((round = 0; round <= rounds; round++)); do
    if ((round % 2)); then order="small big"; else order="big small"; fi
    first=
    for size in $order; do
      read -r ms said < <(measure "$size" "$call" | tail -1)
      if [ -n "$first" ] && [ "$first" != "$said" ]; then echo "bench metric_partner FAILED: $name of one partner differ between the sizes"; exit 1; fi
      first=$said
      # The first round warms both up.
      if ((round)); then psql -d prm_bench_metric_small -c "INSERT INTO public.result VALUES ('$name', $round, '$size', $ms)"; fi
    done
  done
done
status=0
for name in metrics tiers; do
  read -r ratio big_ms small_ms < <(psql -d prm_bench_metric_small -F ' ' -c "SELECT round(percentile_cont(0.5) WITHIN GROUP (ORDER BY b.ms / s.ms)::numeric, 2), min(b.ms), min(s.ms)
    FROM public.result b JOIN public.result s USING (name, round) WHERE b.size = 'big' AND s.size = 'small' AND name = '$name'")
  echo "bench metric_partner_$name ratio=$ratio goal<=1.5 ($big_ms ms at $big deals, $small_ms ms at $small)"
  [ "$(psql -d postgres -c "SELECT $ratio <= 1.5")" = t ] || status=1
done
exit $status
