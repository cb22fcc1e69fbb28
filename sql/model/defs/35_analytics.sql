
-- What the history of states tells, for every machine alike: how long rows stay where, how far they get, where they wait,
-- what they go back to. All of it begins with the stays; an event that leads back to the same state ends none. Columns that
-- nobody asks for cost nothing: the planner leaves their windows and joins out.

CREATE OR REPLACE VIEW prm.v_state_duration WITH (security_invoker = true) AS
SELECT s.program_id, s.machine, s.subject_id, s.subject_uuid, s.partner_id, s.stay_no, s.visit_no, s.state, s.category, s.is_final,
  s.started_at, s.entered_at, s.entered_from, s.entered_by, s.left_at, s.left_to, s.left_by, s.is_waiting AS is_open,
  CASE WHEN s.is_waiting OR s.left_at IS NOT NULL
    THEN round(greatest(extract(epoch FROM coalesce(s.left_at, prm.now()) - s.entered_at), 0) / 3600, 4) END AS hours,
  s.outcome, s.ends_next AND s.outcome IS NOT DISTINCT FROM 'lost' AS is_dropped
FROM (
  SELECT h.program_id, h.machine, h.subject_id, h.subject_uuid, h.to_state AS state, t.category, coalesce(t.is_final, false) AS is_final,
    -- Whose row it is; of tables that prm does not know, the one partner that ever acted on the row.
    CASE h.machine WHEN 'lead' THEN l.partner_id WHEN 'deal' THEN d.partner_id WHEN 'partner' THEN p.partner_id
      ELSE CASE WHEN min(h.partner_id) OVER life = max(h.partner_id) OVER life THEN min(h.partner_id) OVER life END END AS partner_id,
    row_number() OVER stay AS stay_no,
    row_number() OVER (PARTITION BY h.program_id, h.subject_id, h.machine, h.subject_uuid, h.to_state ORDER BY h.history_id) AS visit_no,
    first_value(h.at) OVER stay AS started_at,
    h.at AS entered_at, h.from_state AS entered_from, h.event AS entered_by,
    lead(h.at) OVER stay AS left_at, lead(h.to_state) OVER stay AS left_to, lead(h.event) OVER stay AS left_by,
    -- Nothing waits in a final state, and a row that was deleted waits no more.
    lead(h.history_id) OVER stay IS NULL AND NOT coalesce(t.is_final, false)
      AND CASE h.machine WHEN 'lead' THEN l.lead_id IS NOT NULL WHEN 'deal' THEN d.deal_id IS NOT NULL
            WHEN 'partner' THEN p.partner_id IS NOT NULL ELSE true END AS is_waiting,
    lead(h.history_id) OVER stay IS NOT NULL AND lead(h.history_id, 2) OVER stay IS NULL AS ends_next,
    last_value(CASE WHEN t.is_final THEN coalesce(t.category, 'ended') END) OVER life AS outcome
  FROM prm.state_history h
  LEFT JOIN prm.machine_state t ON t.program_id = h.program_id AND t.machine = h.machine AND t.version = h.machine_version AND t.state = h.to_state
  LEFT JOIN prm.lead l ON h.machine = 'lead' AND l.program_id = h.program_id AND l.lead_id = h.subject_id
  LEFT JOIN prm.deal d ON h.machine = 'deal' AND d.program_id = h.program_id AND d.deal_id = h.subject_id
  LEFT JOIN prm.partner p ON h.machine = 'partner' AND p.program_id = h.program_id AND p.partner_id = h.subject_id
  WHERE h.from_state IS DISTINCT FROM h.to_state
  -- The number before the name, as in the index.
  WINDOW stay AS (PARTITION BY h.program_id, h.subject_id, h.machine, h.subject_uuid ORDER BY h.history_id),
    life AS (PARTITION BY h.program_id, h.subject_id, h.machine, h.subject_uuid ORDER BY h.history_id
             ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
) s;
COMMENT ON VIEW prm.v_state_duration IS 'How long each row stayed in each of its states, for every machine. One row per stay; an event that leads back to the same state ends none.';
COMMENT ON COLUMN prm.v_state_duration.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_state_duration.machine IS 'The machine: lead, deal, partner, or one of your own.';
COMMENT ON COLUMN prm.v_state_duration.subject_id IS 'Key of the row: lead_id, deal_id, partner_id; NULL where the key is a uuid.';
COMMENT ON COLUMN prm.v_state_duration.subject_uuid IS 'Key of the row where it is a uuid; otherwise NULL.';
COMMENT ON COLUMN prm.v_state_duration.partner_id IS 'The partner of the lead or deal, or the partner itself; of other tables the one partner that ever acted on the row, NULL where there were several or none.';
COMMENT ON COLUMN prm.v_state_duration.stay_no IS 'Number of the stay in the life of the row, from 1.';
COMMENT ON COLUMN prm.v_state_duration.visit_no IS 'How many times the row has now entered this state; above 1 it came back.';
COMMENT ON COLUMN prm.v_state_duration.state IS 'The state it stayed in.';
COMMENT ON COLUMN prm.v_state_duration.category IS 'Category of the state in the version that judged the entry, such as won and lost.';
COMMENT ON COLUMN prm.v_state_duration.is_final IS 'Whether no event leaves the state.';
COMMENT ON COLUMN prm.v_state_duration.started_at IS 'When the row entered its first state.';
COMMENT ON COLUMN prm.v_state_duration.entered_at IS 'When the stay began.';
COMMENT ON COLUMN prm.v_state_duration.entered_from IS 'The state before; NULL for the first one.';
COMMENT ON COLUMN prm.v_state_duration.entered_by IS 'The event that led here; NULL for a first state and for an import.';
COMMENT ON COLUMN prm.v_state_duration.left_at IS 'When the stay ended; NULL for the last stay.';
COMMENT ON COLUMN prm.v_state_duration.left_to IS 'The state after; NULL for the last stay.';
COMMENT ON COLUMN prm.v_state_duration.left_by IS 'The event that ended the stay; NULL for the last stay and for an import.';
COMMENT ON COLUMN prm.v_state_duration.is_open IS 'Whether the row still waits here: the last stay of a row that exists, in a state that is not final. Of tables of your own it is not known whether a row was deleted; where the machine keeps the history of such rows, their last stay counts as open.';
COMMENT ON COLUMN prm.v_state_duration.hours IS 'Length of the stay in hours, 0 or more, 4 decimals; an open stay lasts until prm.now(); NULL for a last stay that is not open.';
COMMENT ON COLUMN prm.v_state_duration.outcome IS 'Where the row ended: the category of its last state where that is final (ended where it has none); NULL while it has not.';
COMMENT ON COLUMN prm.v_state_duration.is_dropped IS 'Whether the row was lost right from this stay: its next and last state is final and of category lost.';

CREATE OR REPLACE VIEW prm.v_state_time WITH (security_invoker = true) AS
SELECT g.program_id, g.machine, g.state,
  coalesce((SELECT t.label FROM prm.machine_state t WHERE t.program_id = g.program_id AND t.machine = g.machine AND t.state = g.state
            ORDER BY t.version DESC LIMIT 1), g.state) AS label,
  g.stays, g.open_stays, g.returns, round(g.p[1]::numeric, 2) AS p50_hours, round(g.p[2]::numeric, 2) AS p75_hours,
  round(g.p[3]::numeric, 2) AS p90_hours, round(g.mean_hours, 2) AS mean_hours
FROM (
  SELECT d.program_id, d.machine, d.state, count(*) AS stays, count(*) FILTER (WHERE d.is_open) AS open_stays,
    count(*) FILTER (WHERE d.visit_no > 1) AS returns,
    percentile_cont(ARRAY[0.5, 0.75, 0.9]) WITHIN GROUP (ORDER BY d.hours::double precision) AS p, avg(d.hours) AS mean_hours
  FROM prm.v_state_duration d
  GROUP BY d.program_id, d.machine, d.state
) g;
COMMENT ON VIEW prm.v_state_time IS 'How long rows stay in the states of each machine. One row per machine and state that was ever entered. Open stays count until prm.now(). prm.state_times() has the same by partner, month and segment.';
COMMENT ON COLUMN prm.v_state_time.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_state_time.machine IS 'The machine: lead, deal, partner, or one of your own.';
COMMENT ON COLUMN prm.v_state_time.state IS 'The state.';
COMMENT ON COLUMN prm.v_state_time.label IS 'Name of the state for people.';
COMMENT ON COLUMN prm.v_state_time.stays IS 'How many stays began.';
COMMENT ON COLUMN prm.v_state_time.open_stays IS 'How many of them are not over.';
COMMENT ON COLUMN prm.v_state_time.returns IS 'How many of them were not the rows first in this state.';
COMMENT ON COLUMN prm.v_state_time.p50_hours IS 'Median of the hours, 2 decimals; NULL for final states, where nothing waits.';
COMMENT ON COLUMN prm.v_state_time.p75_hours IS 'Three of four stays are not longer, in hours.';
COMMENT ON COLUMN prm.v_state_time.p90_hours IS 'Nine of ten stays are not longer, in hours.';
COMMENT ON COLUMN prm.v_state_time.mean_hours IS 'Mean of the hours.';

CREATE OR REPLACE VIEW prm.v_machine_funnel WITH (security_invoker = true) AS
SELECT f.program_id, f.machine, f.position, f.state, coalesce(f.label, f.state) AS label, f.is_final, f.category, f.started, f.reached,
  round(f.reached::numeric / nullif(f.started, 0), 4) AS share_of_started, f.present,
  f.dropped, round(f.dropped::numeric / nullif(f.reached, 0), 4) AS drop_share,
  f.won, round(f.won::numeric / nullif(f.reached, 0), 4) AS won_share
FROM (
  SELECT k.program_id, k.machine, k.state, k.label, k.is_final, k.category, k.is_in_force, k.position,
    coalesce(sum(g.started) OVER (PARTITION BY k.program_id, k.machine), 0)::bigint AS started,
    coalesce(g.reached, 0) AS reached, coalesce(g.present, 0) AS present, coalesce(g.dropped, 0) AS dropped, coalesce(g.won, 0) AS won
  -- The newest version that knows a state tells what it means.
  FROM (SELECT DISTINCT ON (t.program_id, t.machine, t.state) t.program_id, t.machine, t.state, t.label, t.is_final, t.category, t.position,
          m.is_current AS is_in_force
        FROM prm.machine_state t
        JOIN prm.machine m ON m.program_id = t.program_id AND m.machine = t.machine AND m.version = t.version
        ORDER BY t.program_id, t.machine, t.state, t.version DESC) k
  LEFT JOIN (
    SELECT d.program_id, d.machine, d.state, count(*) FILTER (WHERE d.stay_no = 1) AS started, count(*) FILTER (WHERE d.visit_no = 1) AS reached,
      count(*) FILTER (WHERE d.left_at IS NULL) AS present, count(*) FILTER (WHERE d.is_dropped) AS dropped,
      count(*) FILTER (WHERE d.visit_no = 1 AND d.outcome = 'won') AS won
    FROM prm.v_state_duration d
    GROUP BY d.program_id, d.machine, d.state
  ) g ON g.program_id = k.program_id AND g.machine = k.machine AND g.state = k.state
) f
WHERE f.is_in_force OR f.reached > 0;
COMMENT ON VIEW prm.v_machine_funnel IS 'How far rows get, for every machine, from the history of states and not from the present ones. One row per state of the version in force, and per older state that a row has been in. prm.machine_funnel() has the same by partner, month and segment.';
COMMENT ON COLUMN prm.v_machine_funnel.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_machine_funnel.machine IS 'The machine: lead, deal, partner, or one of your own.';
COMMENT ON COLUMN prm.v_machine_funnel.position IS 'Order for people: by distance from the initial state, final states last.';
COMMENT ON COLUMN prm.v_machine_funnel.state IS 'The state.';
COMMENT ON COLUMN prm.v_machine_funnel.label IS 'Name of the state for people.';
COMMENT ON COLUMN prm.v_machine_funnel.is_final IS 'Whether no event leaves the state.';
COMMENT ON COLUMN prm.v_machine_funnel.category IS 'Category of the state, such as won and lost.';
COMMENT ON COLUMN prm.v_machine_funnel.started IS 'Rows that ever entered the machine, the same for all its states.';
COMMENT ON COLUMN prm.v_machine_funnel.reached IS 'Rows that were ever in this state, each counted once.';
COMMENT ON COLUMN prm.v_machine_funnel.share_of_started IS 'reached as a share of started, 0 to 1, 4 decimals; NULL while nothing started.';
COMMENT ON COLUMN prm.v_machine_funnel.present IS 'Rows whose last state this is, also those that were deleted there.';
COMMENT ON COLUMN prm.v_machine_funnel.dropped IS 'Rows that were lost right from this state: the last step of their life led from here to a final state of category lost.';
COMMENT ON COLUMN prm.v_machine_funnel.drop_share IS 'dropped as a share of reached, 0 to 1; NULL where none reached it.';
COMMENT ON COLUMN prm.v_machine_funnel.won IS 'Rows that were ever in this state and whose last state is final and of category won.';
COMMENT ON COLUMN prm.v_machine_funnel.won_share IS 'won as a share of reached, 0 to 1; NULL where none reached it.';

CREATE OR REPLACE VIEW prm.v_machine_bottleneck WITH (security_invoker = true) AS
SELECT g.program_id, g.machine, rank() OVER (PARTITION BY g.program_id, g.machine ORDER BY g.waiting_hours DESC)::integer AS rank, g.state,
  coalesce((SELECT t.label FROM prm.machine_state t WHERE t.program_id = g.program_id AND t.machine = g.machine AND t.state = g.state
            ORDER BY t.version DESC LIMIT 1), g.state) AS label,
  g.stays, g.open_stays, round(g.waiting_hours, 2) AS waiting_hours, round(g.open_hours, 2) AS open_hours,
  round(g.waiting_hours / nullif(sum(g.waiting_hours) OVER (PARTITION BY g.program_id, g.machine), 0), 4) AS share_of_waiting,
  g.oldest_open_at
FROM (
  SELECT d.program_id, d.machine, d.state, count(*) AS stays, count(*) FILTER (WHERE d.is_open) AS open_stays, sum(d.hours) AS waiting_hours,
    coalesce(sum(d.hours) FILTER (WHERE d.is_open), 0) AS open_hours, min(d.entered_at) FILTER (WHERE d.is_open) AS oldest_open_at
  FROM prm.v_state_duration d
  WHERE d.hours IS NOT NULL
  GROUP BY d.program_id, d.machine, d.state
) g;
COMMENT ON VIEW prm.v_machine_bottleneck IS 'Where rows wait: the states of each machine by the hours that all rows spent in them. One row per machine and state in which anything waited; final states have none.';
COMMENT ON COLUMN prm.v_machine_bottleneck.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_machine_bottleneck.machine IS 'The machine: lead, deal, partner, or one of your own.';
COMMENT ON COLUMN prm.v_machine_bottleneck.rank IS 'Place among the states of the machine, 1 for the most hours; equal hours share a place.';
COMMENT ON COLUMN prm.v_machine_bottleneck.state IS 'The state.';
COMMENT ON COLUMN prm.v_machine_bottleneck.label IS 'Name of the state for people.';
COMMENT ON COLUMN prm.v_machine_bottleneck.stays IS 'Stays in it, open ones included.';
COMMENT ON COLUMN prm.v_machine_bottleneck.open_stays IS 'Stays that are not over.';
COMMENT ON COLUMN prm.v_machine_bottleneck.waiting_hours IS 'Hours of all stays together, open ones until prm.now(), 2 decimals.';
COMMENT ON COLUMN prm.v_machine_bottleneck.open_hours IS 'The part of it in open stays.';
COMMENT ON COLUMN prm.v_machine_bottleneck.share_of_waiting IS 'waiting_hours as a share of those of the whole machine, 0 to 1, 4 decimals.';
COMMENT ON COLUMN prm.v_machine_bottleneck.oldest_open_at IS 'When the oldest open stay began; NULL where none is open.';

CREATE OR REPLACE VIEW prm.v_machine_loop WITH (security_invoker = true) AS
SELECT d.program_id, d.machine, d.state, d.subject_id, d.subject_uuid, max(d.partner_id) AS partner_id, count(*) AS entries, count(*) - 1 AS returns,
  min(d.entered_at) AS first_entered_at, max(d.entered_at) AS last_entered_at,
  coalesce(sum(d.hours) FILTER (WHERE d.visit_no > 1), 0) AS hours_again
FROM prm.v_state_duration d
GROUP BY d.program_id, d.machine, d.state, d.subject_id, d.subject_uuid
HAVING count(*) > 1;
COMMENT ON VIEW prm.v_machine_loop IS 'What goes round in circles: one row per row and state that it entered more than once. v_state_time has the sums per state.';
COMMENT ON COLUMN prm.v_machine_loop.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_machine_loop.machine IS 'The machine: lead, deal, partner, or one of your own.';
COMMENT ON COLUMN prm.v_machine_loop.state IS 'The state that was entered again.';
COMMENT ON COLUMN prm.v_machine_loop.subject_id IS 'Key of the row: lead_id, deal_id, partner_id; NULL where the key is a uuid.';
COMMENT ON COLUMN prm.v_machine_loop.subject_uuid IS 'Key of the row where it is a uuid; otherwise NULL.';
COMMENT ON COLUMN prm.v_machine_loop.partner_id IS 'The partner of the row, as in v_state_duration.';
COMMENT ON COLUMN prm.v_machine_loop.entries IS 'How often the row entered the state.';
COMMENT ON COLUMN prm.v_machine_loop.returns IS 'How often it came back: entries but the first.';
COMMENT ON COLUMN prm.v_machine_loop.first_entered_at IS 'When it entered the state for the first time.';
COMMENT ON COLUMN prm.v_machine_loop.last_entered_at IS 'When it entered it last.';
COMMENT ON COLUMN prm.v_machine_loop.hours_again IS 'Hours spent there after the first stay, 4 decimals; an open stay counts until prm.now().';
