
-- Tiers: promotion when a deal is won or somebody is certified, the row-type functions, and the views for people and tools.

CREATE OR REPLACE TRIGGER prm_40_tiers_insert AFTER INSERT ON prm.deal
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION prm.tier_trigger();
CREATE OR REPLACE TRIGGER prm_40_tiers_update AFTER UPDATE ON prm.deal
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION prm.tier_trigger();

-- What backends keep of the ladders (src/tier_book.c).
CREATE OR REPLACE TRIGGER prm_definition_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON prm.ladder
  FOR EACH STATEMENT EXECUTE FUNCTION prm.definition_changed();
ALTER TABLE prm.ladder ENABLE ALWAYS TRIGGER prm_definition_changed;
CREATE OR REPLACE TRIGGER prm_definition_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON prm.tier
  FOR EACH STATEMENT EXECUTE FUNCTION prm.definition_changed();
ALTER TABLE prm.tier ENABLE ALWAYS TRIGGER prm_definition_changed;
CREATE OR REPLACE TRIGGER prm_definition_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON prm.tier_policy
  FOR EACH STATEMENT EXECUTE FUNCTION prm.definition_changed();
ALTER TABLE prm.tier_policy ENABLE ALWAYS TRIGGER prm_definition_changed;
CREATE OR REPLACE TRIGGER prm_definition_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON prm.tier_requirement
  FOR EACH STATEMENT EXECUTE FUNCTION prm.definition_changed();
ALTER TABLE prm.tier_requirement ENABLE ALWAYS TRIGGER prm_definition_changed;
CREATE OR REPLACE TRIGGER prm_definition_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON prm.tier_track
  FOR EACH STATEMENT EXECUTE FUNCTION prm.definition_changed();
ALTER TABLE prm.tier_track ENABLE ALWAYS TRIGGER prm_definition_changed;
CREATE OR REPLACE TRIGGER prm_definition_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON prm.tier_market
  FOR EACH STATEMENT EXECUTE FUNCTION prm.definition_changed();
ALTER TABLE prm.tier_market ENABLE ALWAYS TRIGGER prm_definition_changed;
CREATE OR REPLACE TRIGGER prm_definition_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON prm.tier_product
  FOR EACH STATEMENT EXECUTE FUNCTION prm.definition_changed();
ALTER TABLE prm.tier_product ENABLE ALWAYS TRIGGER prm_definition_changed;
CREATE OR REPLACE TRIGGER prm_definition_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON prm.metric
  FOR EACH STATEMENT EXECUTE FUNCTION prm.definition_changed();
ALTER TABLE prm.metric ENABLE ALWAYS TRIGGER prm_definition_changed;

CREATE OR REPLACE FUNCTION prm._certificates_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  batch record;
  the_ids bigint[];
BEGIN
  FOR batch IN
    SELECT n.program_id AS number, array_agg(DISTINCT n.partner_user_id) AS people FROM new_rows n GROUP BY n.program_id ORDER BY n.program_id
  LOOP
    SELECT array_agg(DISTINCT u.partner_id ORDER BY u.partner_id) INTO the_ids FROM prm.partner_user u
      WHERE u.program_id = batch.number AND u.partner_user_id = ANY (batch.people);
    INSERT INTO prm.tier_due (program_id, partner_id, cause) SELECT batch.number, i.partner_id, 'certificate' FROM unnest(the_ids) AS i(partner_id);
    PERFORM prm._evaluate_tiers(batch.number, the_ids, NULL, true, false);
    PERFORM prm._sync_dated_benefits(batch.number, the_ids);
  END LOOP;
  RETURN NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._certificates_changed() FROM PUBLIC;
COMMENT ON FUNCTION prm._certificates_changed() IS
'Statement trigger of prm.certificate: evaluates the partners of the people, all in one pass, for promotions, gives and takes what certificates give, and leaves a row in tier_due for each.';

CREATE OR REPLACE TRIGGER prm_40_tiers_insert AFTER INSERT ON prm.certificate
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION prm._certificates_changed();
CREATE OR REPLACE TRIGGER prm_40_tiers_update AFTER UPDATE ON prm.certificate
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION prm._certificates_changed();

-- Functions over one row, for single rows and for tools that show them as columns. Their set-based twins are in the views.

CREATE OR REPLACE FUNCTION prm.health_score(partner prm.partner) RETURNS numeric
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT h.score FROM prm._row_health((health_score.partner).program_id, (health_score.partner).partner_id) h;
END;
COMMENT ON FUNCTION prm.health_score(prm.partner) IS 'The health of the partner now, 0 to 100; NULL: nothing is known. For many partners v_partner is quicker.';

CREATE OR REPLACE FUNCTION prm.health_band(partner prm.partner) RETURNS text
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT coalesce((SELECT h.band FROM prm._row_health((health_band.partner).program_id, (health_band.partner).partner_id) h), 'unknown');
END;
COMMENT ON FUNCTION prm.health_band(prm.partner) IS 'The band of the partner''s health now; unknown without a score. For many partners v_partner is quicker.';

CREATE OR REPLACE FUNCTION prm.next_tier(partner prm.partner) RETURNS text
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT t.tier FROM prm.tier t
    LEFT JOIN prm.tier h ON h.program_id = t.program_id AND h.ladder = 'main' AND h.tier = (next_tier.partner).tier
    WHERE t.program_id = (next_tier.partner).program_id AND t.ladder = 'main' AND (h.rank IS NULL OR t.rank > h.rank)
    ORDER BY t.rank LIMIT 1;
END;
COMMENT ON FUNCTION prm.next_tier(prm.partner) IS 'The tier of ladder main above the one that the partner holds; NULL: it holds the highest.';

CREATE OR REPLACE FUNCTION prm.revenue_12m(partner prm.partner) RETURNS numeric
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT v.value FROM prm._row_metric((revenue_12m.partner).program_id, (revenue_12m.partner).partner_id, 'revenue_12m') v;
END;
COMMENT ON FUNCTION prm.revenue_12m(prm.partner) IS 'Won revenue of the partner in the last 12 months, in the programme''s currency. For many partners v_partner is quicker.';

CREATE OR REPLACE FUNCTION prm.partners(tier prm.tier) RETURNS bigint
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT count(*) FROM prm.enrolment e
    WHERE e.program_id = (partners.tier).program_id AND e.ladder = (partners.tier).ladder AND e.tier = (partners.tier).tier;
END;
COMMENT ON FUNCTION prm.partners(prm.tier) IS 'How many partners hold the tier.';

CREATE OR REPLACE FUNCTION prm.state_since(lead prm.lead) RETURNS timestamptz
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT coalesce((SELECT s.at FROM prm.state_history s
                   WHERE s.program_id = (state_since.lead).program_id AND s.machine = 'lead' AND s.subject_id = (state_since.lead).lead_id
                     AND s.subject_id IS NOT NULL
                   ORDER BY s.history_id DESC LIMIT 1), (state_since.lead).created_at);
END;
COMMENT ON FUNCTION prm.state_since(prm.lead) IS 'Since when the lead is in its state.';

CREATE OR REPLACE VIEW prm.v_partner WITH (security_invoker = true) AS
  SELECT p.program_id, p.partner_id, p.name, p.kind, p.state, p.country, p.region, p.parent_id, u.name AS parent,
    p.tier, t.label AS tier_label, t.rank AS tier_rank, e.effective_on AS tier_since, e.qualified_tier, coalesce(e.standing, 'active') AS standing,
    e.review_on, e.pinned_until,
    coalesce(n.tier, CASE WHEN p.tier IS NULL THEN (SELECT f.tier FROM prm.tier f WHERE f.program_id = p.program_id AND f.ladder = 'main'
                                                    ORDER BY f.rank LIMIT 1) END) AS next_tier,
    h.score AS health_score, coalesce(h.band, 'unknown') AS health_band, h.coverage AS health_coverage,
    m.revenue_12m, m.deals_won_12m, m.win_rate, m.open_pipeline, m.certified_people, p.joined_on, p.created_at, p.external_ref
  FROM prm.partner p
  LEFT JOIN prm.partner u ON u.program_id = p.program_id AND u.partner_id = p.parent_id
  LEFT JOIN prm.enrolment e ON e.program_id = p.program_id AND e.partner_id = p.partner_id AND e.ladder = 'main'
  LEFT JOIN prm.tier t ON t.program_id = p.program_id AND t.ladder = 'main' AND t.tier = p.tier
  LEFT JOIN (
    SELECT a.program_id, a.tier AS held, (SELECT b.tier FROM prm.tier b WHERE b.program_id = a.program_id AND b.ladder = 'main' AND b.rank > a.rank
                                          ORDER BY b.rank LIMIT 1) AS tier
    FROM prm.tier a WHERE a.ladder = 'main') n ON n.program_id = p.program_id AND n.held = p.tier
  LEFT JOIN (
    SELECT g.program_id, x.partner_id, max(x.score) AS score, max(x.band) AS band, max(x.coverage) AS coverage
    FROM prm.program g CROSS JOIN LATERAL prm._health_scores(g.program_id, NULL, prm.now()) x
    GROUP BY g.program_id, x.partner_id) h ON h.program_id = p.program_id AND h.partner_id = p.partner_id
  LEFT JOIN (
    SELECT g.program_id, x.partner_id, max(x.value) FILTER (WHERE x.metric = 'revenue_12m') AS revenue_12m,
      max(x.value) FILTER (WHERE x.metric = 'deals_won_12m') AS deals_won_12m, max(x.value) FILTER (WHERE x.metric = 'win_rate') AS win_rate,
      max(x.value) FILTER (WHERE x.metric = 'open_pipeline') AS open_pipeline,
      max(x.value) FILTER (WHERE x.metric = 'certified_people') AS certified_people
    FROM prm.program g
    CROSS JOIN LATERAL prm._metric_values(g.program_id, NULL, prm.now(),
      ARRAY['revenue_12m', 'deals_won_12m', 'win_rate', 'open_pipeline', 'certified_people']) x
    GROUP BY g.program_id, x.partner_id) m ON m.program_id = p.program_id AND m.partner_id = p.partner_id;
COMMENT ON VIEW prm.v_partner IS 'The partners with tier, health and the figures of the last 12 months, at prm.now(). Computed for all partners at once; for one partner health(), partner_metrics() and the functions over its row are quicker.';
COMMENT ON COLUMN prm.v_partner.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_partner.partner_id IS 'Number of the partner.';
COMMENT ON COLUMN prm.v_partner.name IS 'Name of the firm or person.';
COMMENT ON COLUMN prm.v_partner.kind IS 'Kind of partner.';
COMMENT ON COLUMN prm.v_partner.state IS 'State of the partner machine.';
COMMENT ON COLUMN prm.v_partner.country IS 'Country.';
COMMENT ON COLUMN prm.v_partner.region IS 'Sales region.';
COMMENT ON COLUMN prm.v_partner.parent_id IS 'The partner above it.';
COMMENT ON COLUMN prm.v_partner.parent IS 'Its name.';
COMMENT ON COLUMN prm.v_partner.tier IS 'The tier it holds on ladder main.';
COMMENT ON COLUMN prm.v_partner.tier_label IS 'Its name for people.';
COMMENT ON COLUMN prm.v_partner.tier_rank IS 'Its rank; higher is better.';
COMMENT ON COLUMN prm.v_partner.tier_since IS 'Day since which it holds the tier.';
COMMENT ON COLUMN prm.v_partner.qualified_tier IS 'The highest tier that it met when last evaluated.';
COMMENT ON COLUMN prm.v_partner.standing IS 'active, at_risk or grace.';
COMMENT ON COLUMN prm.v_partner.review_on IS 'Day on which it is demoted unless it recovers before.';
COMMENT ON COLUMN prm.v_partner.pinned_until IS 'Until when its tier is pinned.';
COMMENT ON COLUMN prm.v_partner.next_tier IS 'The tier above the one it holds.';
COMMENT ON COLUMN prm.v_partner.health_score IS 'Health, 0 to 100; empty: nothing is known.';
COMMENT ON COLUMN prm.v_partner.health_band IS 'Band of its health; unknown without a score.';
COMMENT ON COLUMN prm.v_partner.health_coverage IS 'Share of the health model''s weight for which a value is known, 0 to 1.';
COMMENT ON COLUMN prm.v_partner.revenue_12m IS 'Won revenue of the last 12 months, in the programme''s currency.';
COMMENT ON COLUMN prm.v_partner.deals_won_12m IS 'Deals won in the last 12 months.';
COMMENT ON COLUMN prm.v_partner.win_rate IS 'Share of the deals closed in the last 12 months that were won, 0 to 1.';
COMMENT ON COLUMN prm.v_partner.open_pipeline IS 'Amount of its open deals, in the programme''s currency.';
COMMENT ON COLUMN prm.v_partner.certified_people IS 'People with a valid certificate.';
COMMENT ON COLUMN prm.v_partner.joined_on IS 'Day on which it joined.';
COMMENT ON COLUMN prm.v_partner.created_at IS 'When it was entered.';
COMMENT ON COLUMN prm.v_partner.external_ref IS 'Its id in the system it came from.';

CREATE OR REPLACE VIEW prm.v_lead WITH (security_invoker = true) AS
  SELECT l.program_id, l.lead_id, l.company, l.contact_name, l.partner_id, p.name AS partner, l.customer_id, l.source, l.campaign, l.product_family,
    l.budget, l.currency, l.state, coalesce(s.at, l.created_at) AS state_since,
    round(extract(epoch FROM prm.now() - coalesce(s.at, l.created_at)) / 86400, 2) AS days_in_state,
    round(extract(epoch FROM prm.now() - l.created_at) / 86400, 2) AS age_days, l.created_at, l.external_ref
  FROM prm.lead l
  LEFT JOIN prm.partner p ON p.program_id = l.program_id AND p.partner_id = l.partner_id
  LEFT JOIN LATERAL (
    SELECT h.at FROM prm.state_history h
    WHERE h.program_id = l.program_id AND h.machine = 'lead' AND h.subject_id = l.lead_id AND h.subject_id IS NOT NULL
    ORDER BY h.history_id DESC LIMIT 1) s ON true;
COMMENT ON VIEW prm.v_lead IS 'The leads with the partner who has them and how long they have been where they are.';
COMMENT ON COLUMN prm.v_lead.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_lead.lead_id IS 'Number of the lead.';
COMMENT ON COLUMN prm.v_lead.company IS 'The company that may buy.';
COMMENT ON COLUMN prm.v_lead.contact_name IS 'The person there.';
COMMENT ON COLUMN prm.v_lead.partner_id IS 'The partner who has the lead.';
COMMENT ON COLUMN prm.v_lead.partner IS 'Its name.';
COMMENT ON COLUMN prm.v_lead.customer_id IS 'The customer, once it is known as one.';
COMMENT ON COLUMN prm.v_lead.source IS 'Where the lead came from.';
COMMENT ON COLUMN prm.v_lead.campaign IS 'The campaign that brought it.';
COMMENT ON COLUMN prm.v_lead.product_family IS 'What it is about.';
COMMENT ON COLUMN prm.v_lead.budget IS 'Budget of the company.';
COMMENT ON COLUMN prm.v_lead.currency IS 'Currency of the budget.';
COMMENT ON COLUMN prm.v_lead.state IS 'State of the lead machine.';
COMMENT ON COLUMN prm.v_lead.state_since IS 'Since when it is in that state.';
COMMENT ON COLUMN prm.v_lead.days_in_state IS 'Days in that state, at prm.now().';
COMMENT ON COLUMN prm.v_lead.age_days IS 'Days since it came in, at prm.now().';
COMMENT ON COLUMN prm.v_lead.created_at IS 'When it came in.';
COMMENT ON COLUMN prm.v_lead.external_ref IS 'Its id in the system it came from.';

CREATE OR REPLACE VIEW prm.v_tier WITH (security_invoker = true) AS
  SELECT t.program_id, t.ladder, t.tier, t.label, t.rank, coalesce(c.partners, 0) AS partners, coalesce(c.at_risk, 0) AS at_risk,
    coalesce(q.partners, 0) AS qualified, r.requirements, b.benefits
  FROM prm.tier t
  LEFT JOIN (
    SELECT e.program_id, e.ladder, e.tier, count(*) AS partners, count(*) FILTER (WHERE e.standing <> 'active') AS at_risk
    FROM prm.enrolment e GROUP BY e.program_id, e.ladder, e.tier) c ON c.program_id = t.program_id AND c.ladder = t.ladder AND c.tier = t.tier
  LEFT JOIN (
    SELECT e.program_id, e.ladder, e.qualified_tier, count(*) AS partners
    FROM prm.enrolment e GROUP BY e.program_id, e.ladder, e.qualified_tier) q
    ON q.program_id = t.program_id AND q.ladder = t.ladder AND q.qualified_tier = t.tier
  LEFT JOIN (
    SELECT x.program_id, x.ladder, x.tier, string_agg(CASE WHEN x.mode = 'score' THEN format('score >= %s of %s', coalesce(trim_scale(x.mark)::text, '?'), x.wanted) ELSE x.wanted END, ', or ' ORDER BY x.track) AS requirements
    FROM (
      SELECT w.program_id, w.ladder, w.tier, w.track, coalesce(k.mode, y.mode, 'all') AS mode, coalesce(k.mark, y.mark) AS mark,
        string_agg(w.wanted, CASE WHEN coalesce(k.mode, y.mode, 'all') = 'score' THEN ', ' ELSE ' and ' END ORDER BY w.first) AS wanted
      FROM (
        SELECT r.program_id, r.ladder, r.tier, r.track, min(r.metric) AS first,
          CASE WHEN count(*) > 1 THEN '(' ELSE '' END || string_agg(r.metric || ' ' || r.op || ' ' || trim_scale(r.threshold), ' or ' ORDER BY r.metric) || CASE WHEN count(*) > 1 THEN ')' ELSE '' END AS wanted
        FROM prm.tier_requirement r
        GROUP BY r.program_id, r.ladder, r.tier, r.track, coalesce('group ' || r.alternative_group, 'metric ' || r.metric)) w
      LEFT JOIN prm.tier_policy y ON y.program_id = w.program_id AND y.ladder = w.ladder
      LEFT JOIN prm.tier_track k ON k.program_id = w.program_id AND k.ladder = w.ladder AND k.tier = w.tier AND k.track = w.track
      GROUP BY w.program_id, w.ladder, w.tier, w.track, k.mode, y.mode, k.mark, y.mark) x
    GROUP BY x.program_id, x.ladder, x.tier) r ON r.program_id = t.program_id AND r.ladder = t.ladder AND r.tier = t.tier
  LEFT JOIN (
    SELECT x.program_id, x.ladder, x.tier, string_agg(x.benefit || ': ' || x.value, ', ' ORDER BY x.benefit) AS benefits
    FROM prm.benefit x JOIN prm.program g ON g.program_id = x.program_id
    WHERE x.tier IS NOT NULL AND x.valid @> (prm.now() AT TIME ZONE g.time_zone)::date
    GROUP BY x.program_id, x.ladder, x.tier) b ON b.program_id = t.program_id AND b.ladder = t.ladder AND b.tier = t.tier;
COMMENT ON VIEW prm.v_tier IS 'The ladders of tiers with how many partners hold each.';
COMMENT ON COLUMN prm.v_tier.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_tier.ladder IS 'The ladder.';
COMMENT ON COLUMN prm.v_tier.tier IS 'The tier.';
COMMENT ON COLUMN prm.v_tier.label IS 'Its name for people.';
COMMENT ON COLUMN prm.v_tier.rank IS 'Its rank; higher is better.';
COMMENT ON COLUMN prm.v_tier.partners IS 'How many partners hold it.';
COMMENT ON COLUMN prm.v_tier.at_risk IS 'How many of them are short of it.';
COMMENT ON COLUMN prm.v_tier.qualified IS 'For how many partners it was the highest tier met when they were last evaluated.';
COMMENT ON COLUMN prm.v_tier.requirements IS 'What it takes, in words.';
COMMENT ON COLUMN prm.v_tier.benefits IS 'What it gives, in words.';

COMMENT ON TABLE prm.tier_requirement IS 'What a tier takes. A track is met when all its rows are, or when its score reaches the mark, a tier when any of its tracks is. A tier without rows, or with a metric that does not exist, is never given, unless it is the entry tier, bought or inherited.';
COMMENT ON COLUMN prm.tier_requirement.ladder IS 'The ladder.';
COMMENT ON COLUMN prm.tier_requirement.tier IS 'The tier.';
COMMENT ON COLUMN prm.tier_requirement.track IS 'The way to the tier that the row belongs to.';
COMMENT ON COLUMN prm.tier_requirement.metric IS 'The metric; one that does not exist or has no value meets nothing.';
COMMENT ON COLUMN prm.tier_requirement.op IS '>= or <=.';
COMMENT ON COLUMN prm.tier_requirement.threshold IS 'What it takes to reach the tier, in the metric''s unit.';
COMMENT ON COLUMN prm.tier_requirement.keep_threshold IS 'What it takes to keep the tier once reached; empty: the same.';
COMMENT ON COLUMN prm.tier_requirement.weight IS 'In a score: the points for the whole threshold; what is had of it gives its share of them.';
COMMENT ON COLUMN prm.tier_requirement.floor IS 'In a score: the value must be above it (below it for <=), whatever the score; empty: no floor.';
COMMENT ON COLUMN prm.tier_requirement.is_capped IS 'In a score: whether more than the threshold gives no more points. False: so many points for each threshold.';
COMMENT ON COLUMN prm.tier_requirement.is_partial IS 'In a score: whether a part of the threshold gives its share of the points. False: all of them or none, and where it is not capped so many for each whole threshold.';
COMMENT ON COLUMN prm.tier_requirement.alternative_group IS 'Of the rows of a track with the same group one is enough, and in a score the best counts; empty: the row stands for itself.';

COMMENT ON TABLE prm.tier_policy IS 'How the tiers of a ladder are given and taken.';
COMMENT ON COLUMN prm.tier_policy.ladder IS 'The ladder.';
COMMENT ON COLUMN prm.tier_policy.mode IS 'all: a track is met when all its requirements are; score: when the points of its requirements reach the mark. tier_track may say otherwise of a track.';
COMMENT ON COLUMN prm.tier_policy.mark IS 'The points that a score must reach; a track without a mark is never met by score.';
COMMENT ON COLUMN prm.tier_policy.promotion IS 'at_once, or approval: every promotion waits for approve_tier(). At once, only to the tiers that need approval.';
COMMENT ON COLUMN prm.tier_policy.review IS 'The term of a tier: it is not lost sooner than this after it was reached.';
COMMENT ON COLUMN prm.tier_policy.grace IS 'At least this long lies between the day on which a partner is found short and its demotion; the last stretch before it, of this length, is called grace.';
COMMENT ON COLUMN prm.tier_policy.entry_tier IS 'The tier of a new partner; it is always met.';
COMMENT ON COLUMN prm.tier_policy.review_kind IS 'When a partner that fell short is reviewed: term: not before the term of its tier is over; anniversary: on the next anniversary of joining; period: at the end of the programme year. Never before the grace is over.';
COMMENT ON COLUMN prm.tier_policy.demotion IS 'to_met: demoted to the tier that is met; one_step: to the next lower tier (a soft landing), or to the tier that is met where that is higher, and judged anew from there.';
COMMENT ON COLUMN prm.tier_policy.period_start IS 'period: a day on which a programme year begins, each as long as review; empty: the fiscal year.';
COMMENT ON COLUMN prm.tier_policy.inherits IS 'parent: a partner meets what its parent holds (a cap counts); none: each by itself.';
COMMENT ON COLUMN prm.tier_policy.enrolment IS 'everybody: all partners stand on the ladder; by_row: those that enrol_partner() put there, while their enrolment is valid.';
COMMENT ON COLUMN prm.tier_policy.plans IS 'at_risk: whoever is at risk gets a plan with tasks to keep its tier; by_hand: only plan_tier() makes plans.';

COMMENT ON TABLE prm.tier_history IS 'What happened to the standing of partners: changes of tier, risk, grace, recovery, pins. Append-only.';
COMMENT ON COLUMN prm.tier_history.tier_history_id IS 'Number of the row.';
COMMENT ON COLUMN prm.tier_history.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.tier_history.ladder IS 'The ladder.';
COMMENT ON COLUMN prm.tier_history.from_tier IS 'The tier held before.';
COMMENT ON COLUMN prm.tier_history.to_tier IS 'The tier held afterwards; the same where only the standing changed.';
COMMENT ON COLUMN prm.tier_history.outcome IS 'entry, promote, demote, manual, at_risk, grace, keep (recovered), needs_approval, approved, refused, pinned, unpinned, capped, uncapped.';
COMMENT ON COLUMN prm.tier_history.reason IS 'Why.';
COMMENT ON COLUMN prm.tier_history.metrics IS 'The metrics that it was based on, an object.';
COMMENT ON COLUMN prm.tier_history.actor IS 'Who did it, or whose transaction caused it.';
COMMENT ON COLUMN prm.tier_history.at IS 'When it took effect.';

COMMENT ON TABLE prm.tier_due IS 'Partners whose tier is to be looked at again, because concurrent wins may have hidden each other. Emptied by run_jobs().';
COMMENT ON COLUMN prm.tier_due.tier_due_id IS 'Number of the row.';
COMMENT ON COLUMN prm.tier_due.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.tier_due.cause IS 'What happened.';

COMMENT ON TABLE prm.certification IS 'Certifications that people of partners can have.';
COMMENT ON COLUMN prm.certification.certification IS 'The certification.';
COMMENT ON COLUMN prm.certification.label IS 'Name for people.';
COMMENT ON COLUMN prm.certification.valid_months IS 'How long a certificate is usually valid, months.';

COMMENT ON TABLE prm.certificate IS 'Certificates that people have.';
COMMENT ON COLUMN prm.certificate.certificate_id IS 'Number of the certificate.';
COMMENT ON COLUMN prm.certificate.partner_user_id IS 'The person.';
COMMENT ON COLUMN prm.certificate.certification IS 'The certification.';
COMMENT ON COLUMN prm.certificate.issued_on IS 'Day of issue, in the programme''s time zone.';
COMMENT ON COLUMN prm.certificate.valid_until IS 'Valid through this day; empty: without end.';
