#!/usr/bin/env bash
# The machine's trigger against two in PL/pgSQL that do the same from the same tables (look the version and the transition up,
# check party, fields, guard and reason, refuse what is not legal, write the history, call the hook where a rule asks): one row
# by row, one over the statement's transition tables. The first must cost three times as much at least, the other one more.
#   test/bench/machine_plpgsql.sh [rows] [rounds]
set -eu
. "$(dirname "$0")/machine.bash"
rows=${1:-100000} rounds=${2:-5}
bench_begin
make_leads "$rows"
make_twin prm_bench prm_bench_row prm_bench_set
psql >/dev/null <<SQL
CREATE TABLE prm_bench.source AS
  SELECT ${p}::bigint AS program_id, 900000000 + i AS lead_id, 'Company ' || i AS company, 'Contact ' || i AS contact_name, 'c' || i || '@example.org' AS email,
    'need ' || i % 97 AS need, (random() * 100000)::numeric(12,2) AS budget, 'DE' AS country
  FROM generate_series(1, $rows) i ORDER BY random();
ANALYZE prm_bench.source;

CREATE FUNCTION prm_bench.by_row() RETURNS trigger LANGUAGE plpgsql AS \$\$
DECLARE
  the_partner bigint := prm.current_partner();
  the_reason text := nullif(current_setting('prm.reason', true), '');
  the_version integer;
  the_event text;
  the_ways integer := 0;
  way record;
BEGIN
  IF TG_OP = 'UPDATE' AND NEW.state = OLD.state THEN RETURN NULL; END IF;
  SELECT m.version INTO the_version FROM prm.machine m WHERE m.program_id = NEW.program_id AND m.machine = 'lead' AND m.is_current;
  IF TG_OP = 'INSERT' THEN
    PERFORM 1 FROM prm.machine_state s WHERE s.program_id = NEW.program_id AND s.machine = 'lead' AND s.version = the_version AND s.state = NEW.state AND s.is_initial;
    IF NOT FOUND THEN RAISE check_violation USING MESSAGE = format('lead %s cannot begin in state "%s"', NEW.lead_id, NEW.state); END IF;
    INSERT INTO prm_bench_row.state_history (program_id, machine, machine_version, event, from_state, to_state, actor, actor_kind, partner_id, reason, subject_id, at)
      VALUES (NEW.program_id, 'lead', the_version, NULL, NULL, NEW.state, prm.current_actor(), CASE WHEN the_partner IS NULL THEN 'vendor' ELSE 'partner' END,
        the_partner, the_reason, NEW.lead_id, prm.now());
  ELSE
    FOR way IN SELECT t.event, t.actor, t.required, t.guard, t.needs_reason FROM prm.machine_transition t
      WHERE t.program_id = NEW.program_id AND t.machine = 'lead' AND t.version = the_version AND t.from_state = OLD.state AND t.to_state = NEW.state
    LOOP
      CONTINUE WHEN way.actor = 'system' OR way.actor = 'vendor' AND the_partner IS NOT NULL OR way.actor = 'partner' AND NEW.partner_id IS DISTINCT FROM the_partner;
      CONTINUE WHEN way.required <> '{}' AND EXISTS (SELECT 1 FROM unnest(way.required) f WHERE btrim(coalesce(to_jsonb(NEW) ->> f, '')) = '');
      CONTINUE WHEN way.guard IS NOT NULL AND (to_jsonb(NEW) @@ way.guard::jsonpath) IS NOT TRUE;
      CONTINUE WHEN way.needs_reason AND the_reason IS NULL;
      the_ways := the_ways + 1;
      the_event := way.event;
    END LOOP;
    IF the_ways <> 1 THEN RAISE check_violation USING MESSAGE = format('lead %s cannot go from "%s" to "%s"', NEW.lead_id, OLD.state, NEW.state); END IF;
    INSERT INTO prm_bench_row.state_history (program_id, machine, machine_version, event, from_state, to_state, actor, actor_kind, partner_id, reason, subject_id, at)
      VALUES (NEW.program_id, 'lead', the_version, the_event, OLD.state, NEW.state, prm.current_actor(), CASE WHEN the_partner IS NULL THEN 'vendor' ELSE 'partner' END,
        the_partner, the_reason, NEW.lead_id, prm.now());
  END IF;
  IF EXISTS (SELECT 1 FROM prm.outbox_rule r WHERE r.program_id = NEW.program_id AND r.is_active AND r.source = 'lead' AND (r.event IS NULL OR r.event = the_event)
             AND (r.to_state IS NULL OR r.to_state = NEW.state)) THEN
    PERFORM prm._state_entered(NEW.program_id, 'lead', the_event, CASE TG_OP WHEN 'UPDATE' THEN OLD.state END, NEW.state, ARRAY[NEW.lead_id], prm.current_actor(), prm.now());
  END IF;
  RETURN NULL;
END \$\$;
CREATE TRIGGER machine AFTER INSERT OR UPDATE ON prm_bench_row.lead FOR EACH ROW EXECUTE FUNCTION prm_bench.by_row();

-- The joins of a statement are its cost; checks that this machine has no use for are left out, in favour of this rival.
CREATE FUNCTION prm_bench.by_statement() RETURNS trigger LANGUAGE plpgsql AS \$\$
DECLARE
  the_partner bigint := prm.current_partner();
  the_reason text := nullif(current_setting('prm.reason', true), '');
  the_actor text := prm.current_actor();
  the_kind text := CASE WHEN prm.current_partner() IS NULL THEN 'vendor' ELSE 'partner' END;
  the_rows bigint;
  the_written bigint;
BEGIN
  IF TG_OP = 'INSERT' THEN
    SELECT count(*) INTO the_rows FROM new_rows;
    INSERT INTO prm_bench_set.state_history (program_id, machine, machine_version, event, from_state, to_state, actor, actor_kind, partner_id, reason, subject_id, at)
      SELECT n.program_id, 'lead', m.version, NULL, NULL, n.state, the_actor, the_kind, the_partner, the_reason, n.lead_id, prm.now()
      FROM new_rows n
      JOIN prm.machine m ON m.program_id = n.program_id AND m.machine = 'lead' AND m.is_current
      JOIN prm.machine_state s ON s.program_id = n.program_id AND s.machine = 'lead' AND s.version = m.version AND s.state = n.state AND s.is_initial;
  ELSE
    SELECT count(*) INTO the_rows FROM old_rows o JOIN new_rows n ON n.program_id = o.program_id AND n.lead_id = o.lead_id WHERE n.state <> o.state;
    INSERT INTO prm_bench_set.state_history (program_id, machine, machine_version, event, from_state, to_state, actor, actor_kind, partner_id, reason, subject_id, at)
      SELECT n.program_id, 'lead', m.version, t.event, o.state, n.state, the_actor, the_kind, the_partner, the_reason, n.lead_id, prm.now()
      FROM old_rows o JOIN new_rows n ON n.program_id = o.program_id AND n.lead_id = o.lead_id
      JOIN prm.machine m ON m.program_id = n.program_id AND m.machine = 'lead' AND m.is_current
      JOIN prm.machine_transition t ON t.program_id = n.program_id AND t.machine = 'lead' AND t.version = m.version AND t.from_state = o.state AND t.to_state = n.state
      WHERE n.state <> o.state AND (t.actor = 'any' OR t.actor = 'vendor' AND the_partner IS NULL OR t.actor = 'partner' AND n.partner_id = the_partner)
        AND (NOT t.needs_reason OR the_reason IS NOT NULL);
  END IF;
  GET DIAGNOSTICS the_written = ROW_COUNT;
  IF the_written <> the_rows THEN RAISE check_violation USING MESSAGE = 'a lead cannot go where the statement sends it'; END IF;
  RETURN NULL;
END \$\$;
CREATE TRIGGER machine_insert AFTER INSERT ON prm_bench_set.lead REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION prm_bench.by_statement();
CREATE TRIGGER machine_update AFTER UPDATE ON prm_bench_set.lead REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION prm_bench.by_statement();
SQL
columns="program_id, lead_id, company, contact_name, email, need, budget, country"
insert() { echo "INSERT INTO $1.lead ($columns) SELECT $columns FROM prm_bench.source;"; }

interleave update "$rounds" prm prm "$(update_of prm)" row prm_bench_row "$(update_of prm_bench_row)" set prm_bench_set "$(update_of prm_bench_set)"
report update machine_update_to_row_trigger prm row 0.333
report update machine_update_to_statement_trigger prm set 1
# Beside them the floor, which nothing that writes the same rows can pass: what it takes of the row trigger bounds the first ratio.
interleave insert "$rounds" prm prm "$(insert prm)" row prm_bench_row "$(insert prm_bench_row)" set prm_bench_set "$(insert prm_bench_set)" \
  floor prm_bench "$(insert prm_bench)
$(first_history prm_bench)"
report insert machine_insert_to_row_trigger prm row 0.333
psql -c "SELECT format('  the bare INSERT and the bare history alone take %s of the row trigger', round(percentile_cont(0.5) WITHIN GROUP (ORDER BY a.cost / b.cost)::numeric, 3))
  FROM prm_bench.result a JOIN prm_bench.result b USING (name, round) WHERE a.name = 'insert' AND a.kind = 'floor' AND b.kind = 'row' AND round > 0"
report insert machine_insert_to_statement_trigger prm set 1
