#!/usr/bin/env bash
# Health: the scores of many partners from the rows of their metrics, against sum(value) GROUP BY partner over the same rows.
#   test/bench/health.sh [partners] [metrics] [rounds]     PGHOST, PGUSER ... name a server that knows the extension
# Scoring normalises every value (linear, inverse, steps, target), weighs it in its group and the groups in the score. Random
# data in random order; rounds of both in turn, in one session, without parallel workers; the ratio is taken per round and the
# median counts. The scores are compared with those of health(). As information: refresh_health(), which also reads the metrics
# one by one, explains every score, and writes the snapshots. It runs in a database of its own, which is dropped at the end.
set -eu
partners=${1:-50000} metrics=${2:-10} rounds=${3:-9}
database=prm_bench_health
psql() { command psql -X -q -A -t -v ON_ERROR_STOP=1 "$@"; }
drop() { PGOPTIONS="-c client_min_messages=warning" psql -d postgres -c "DROP DATABASE IF EXISTS $database WITH (FORCE)"; }
trap drop EXIT
drop
psql -d postgres -c "CREATE DATABASE $database"
export PGDATABASE=$database
psql >/dev/null <<SQL
SET client_min_messages = warning;
CREATE EXTENSION prm;
SELECT prm.install();
SELECT prm.create_program('bench', 'blank');
SELECT setseed(0.4);
INSERT INTO prm.metric (metric, label) SELECT 'metric_' || m, 'Metric' FROM generate_series(1, $metrics) m;
INSERT INTO prm.health_model (model, label) VALUES ('bench', 'Bench');
INSERT INTO prm.health_metric (model, metric, group_name, group_weight, weight, how, low, high, options)
  SELECT 'bench', 'metric_' || m, 'group ' || m % 3, m % 3 + 1, m, h.how, CASE WHEN h.how <> 'step' THEN 50 END, CASE WHEN h.how <> 'step' THEN 900 END,
    CASE h.how WHEN 'step' THEN '{"steps": [{"from": 0, "score": 0}, {"from": 100, "score": 20}, {"from": 300, "score": 60}, {"from": 700, "score": 100}]}'
               WHEN 'target' THEN '{"target": 500, "tolerance": 50}' ELSE '{}' END::jsonb
  FROM generate_series(1, $metrics) m CROSS JOIN LATERAL (SELECT (ARRAY['linear', 'inverse', 'step', 'target'])[1 + m % 4] AS how) h;
INSERT INTO prm.partner (partner_id, name) SELECT i, 'Partner ' || i FROM generate_series(1, $partners) i;
INSERT INTO prm.metric_value (partner_id, metric, observed_at, value)
  SELECT p, 'metric_' || m, now() - random() * interval '30 days', round((random() * 1000)::numeric, 2)
  FROM generate_series(1, $partners) p CROSS JOIN generate_series(1, $metrics) m ORDER BY random();
VACUUM ANALYZE;
SQL
read -r ratio ours floor differ < <(psql -F ' ' <<SQL | tail -1
SET jit = off;
SET max_parallel_workers_per_gather = 0;
SET work_mem = '256MB';
CREATE TEMP TABLE took (round int, kind text, ms numeric);
DO \$\$
DECLARE
  the_model jsonb := prm.health_definition('bench');
  began timestamptz;
BEGIN
  FOR i IN 0 .. $rounds LOOP
    FOR half IN 1 .. 2 LOOP
      began := clock_timestamp();
      IF (i + half) % 2 = 0 THEN
        PERFORM count(s.total) FROM (SELECT v.partner_id, sum(v.value) AS total FROM prm.metric_value v GROUP BY v.partner_id) s;
      ELSE
        PERFORM count(s.score) FROM (SELECT v.partner_id, prm.score_metrics(v.metric, v.value, the_model) AS score FROM prm.metric_value v GROUP BY v.partner_id) s;
      END IF;
      INSERT INTO took VALUES (i, CASE WHEN (i + half) % 2 = 0 THEN 'floor' ELSE 'score' END, extract(epoch FROM clock_timestamp() - began) * 1000);
    END LOOP;
  END LOOP;
END \$\$;
SELECT round(percentile_cont(0.5) WITHIN GROUP (ORDER BY s.ms / f.ms)::numeric, 2), round(min(s.ms)), round(min(f.ms)),
  (SELECT count(*) FROM (SELECT v.partner_id, prm.score_metrics(v.metric, v.value, prm.health_definition('bench')) AS score
                         FROM prm.metric_value v WHERE v.partner_id <= 200 GROUP BY v.partner_id) a
   CROSS JOIN LATERAL prm.health(a.partner_id) h WHERE abs(a.score - h.score) > 1e-9)
FROM took s JOIN took f USING (round) WHERE s.kind = 'score' AND f.kind = 'floor' AND round > 0;
SQL
)
refresh=$(psql <<SQL | tail -1
SELECT clock_timestamp() AS began \gset
SELECT prm.refresh_health();
SELECT round(extract(epoch FROM clock_timestamp() - :'began'::timestamptz), 2);
SQL
)
echo "health of $partners partners x $metrics metrics: $ratio times sum(value) GROUP BY partner (limit 1.2; best $ours ms against $floor ms)"
echo "refresh_health() of the same, with explanations and snapshots: $refresh s (for information)"
[ "$differ" = 0 ] || { echo "FAILED: score_metrics() and health() differ for $differ of 200 partners"; exit 1; }
echo "bench health ratio=$ratio goal<=1.2"
psql -c "SELECT 1 / (($ratio <= 1.2)::int)" >/dev/null 2>&1 || { echo "FAILED: the limit is exceeded"; exit 1; }
