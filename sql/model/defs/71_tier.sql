
-- Tiers: what is decided by hand, what is bought, points, plans, and who counts for the wrong tier.

CREATE OR REPLACE FUNCTION prm._tier_approval_guard() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  IF (NEW.program_id, NEW.tier_approval_id, NEW.partner_id, NEW.ladder, NEW.from_tier, NEW.to_tier, NEW.reason, NEW.metrics, NEW.requested_at)
     IS DISTINCT FROM (OLD.program_id, OLD.tier_approval_id, OLD.partner_id, OLD.ladder, OLD.from_tier, OLD.to_tier, OLD.reason, OLD.metrics, OLD.requested_at)
     OR OLD.state <> 'open' AND NEW.state <> OLD.state THEN
    RAISE EXCEPTION USING ERRCODE = '23514', MESSAGE = format('tier approval %s can only be decided', OLD.tier_approval_id),
      DETAIL = format('It is %s, for tier %s; what it asks for never changes, and what was decided stays so.', OLD.state, OLD.to_tier),
      HINT = 'approve_tier() and refuse_tier() decide it while it is open; UPDATE prm.partner SET tier = ... sets a tier by hand.', SCHEMA = 'prm', TABLE = 'tier_approval';
  END IF;
  RETURN NEW;
END
$prm$;
COMMENT ON FUNCTION prm._tier_approval_guard() IS 'Row trigger of prm.tier_approval: refuses (23514) every change but a decision of what is open.';
CREATE OR REPLACE TRIGGER prm_00_guard BEFORE UPDATE ON prm.tier_approval FOR EACH ROW EXECUTE FUNCTION prm._tier_approval_guard();

CREATE OR REPLACE FUNCTION prm._tier_decided() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  batch record;
  the_findings prm.tier_finding[];
BEGIN
  FOR batch IN
    SELECT n.program_id AS number, array_agg(n.tier_approval_id ORDER BY n.tier_approval_id) AS ids, array_agg(n.partner_id ORDER BY n.partner_id) AS partners
    FROM new_rows n WHERE n.stands AND n.state IN ('approved', 'refused') GROUP BY n.program_id ORDER BY n.program_id
  LOOP
    PERFORM 1 FROM prm.partner p WHERE p.program_id = batch.number AND p.partner_id = ANY (batch.partners) ORDER BY p.partner_id FOR NO KEY UPDATE;
    PERFORM 1 FROM prm.enrolment e WHERE e.program_id = batch.number AND e.partner_id = ANY (batch.partners) ORDER BY e.partner_id, e.ladder FOR NO KEY UPDATE;
    SELECT array_agg(ROW(a.partner_id, a.ladder, e.tier, e.qualified_tier, a.state, concat_ws(': ', a.state || ' by ' || a.decided_by, a.decision_reason), NULL,
        CASE WHEN a.state = 'approved' THEN a.to_tier ELSE e.tier END, CASE WHEN a.state = 'approved' THEN 'active' ELSE e.standing END,
        CASE WHEN a.state = 'refused' THEN e.grace_on END, CASE WHEN a.state = 'refused' THEN e.review_on END, CASE WHEN a.state = 'refused' THEN e.at_risk_on END,
        a.metrics, true, false)::prm.tier_finding ORDER BY a.partner_id, a.ladder)
      INTO the_findings
      FROM prm.tier_approval a
      JOIN prm.enrolment e ON e.program_id = batch.number AND e.partner_id = a.partner_id AND e.ladder = a.ladder
      LEFT JOIN prm.tier t ON t.program_id = batch.number AND t.ladder = a.ladder AND t.tier = a.to_tier
      LEFT JOIN prm.tier h ON h.program_id = batch.number AND h.ladder = a.ladder AND h.tier = e.tier
      WHERE a.program_id = batch.number AND a.tier_approval_id = ANY (batch.ids) AND (a.state = 'refused' OR coalesce(h.rank < t.rank, true));
    -- An approval has done its work; a refusal stands while the partner qualifies for the same tier.
    UPDATE prm.tier_approval a SET stands = false WHERE a.program_id = batch.number AND a.tier_approval_id = ANY (batch.ids) AND a.state = 'approved';
    IF the_findings IS NOT NULL THEN
      PERFORM prm._apply_tiers(batch.number, the_findings);
    END IF;
  END LOOP;
  RETURN NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._tier_decided() FROM PUBLIC;
COMMENT ON FUNCTION prm._tier_decided() IS 'Statement trigger of prm.tier_approval: makes decisions true with the owner''s rights, so that whoever may decide needs no right on the history.';
CREATE OR REPLACE TRIGGER prm_40_decided AFTER UPDATE ON prm.tier_approval REFERENCING NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION prm._tier_decided();

CREATE OR REPLACE FUNCTION prm._lines_bought() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  batch record;
  conflict record;
  the_ids bigint[];
BEGIN
  FOR batch IN SELECT n.program_id AS number, array_agg(DISTINCT n.deal_id) AS deals FROM new_rows n WHERE n.product IS NOT NULL GROUP BY n.program_id ORDER BY n.program_id
  LOOP
    CONTINUE WHEN NOT EXISTS (SELECT 1 FROM prm.tier_product x WHERE x.program_id = batch.number);
    SELECT n.deal_id, x.ladder, string_agg(DISTINCT x.tier, ', ' ORDER BY x.tier) AS tiers INTO conflict
      FROM prm.deal_line n JOIN prm.tier_product x ON x.program_id = batch.number AND x.product = n.product
      WHERE n.program_id = batch.number AND n.deal_id = ANY (batch.deals)
      GROUP BY n.deal_id, x.ladder HAVING count(DISTINCT x.tier) > 1 ORDER BY n.deal_id, x.ladder LIMIT 1;
    IF conflict.deal_id IS NOT NULL THEN
      RAISE EXCEPTION USING ERRCODE = '23514', MESSAGE = format('deal %s would give two tiers at once', conflict.deal_id),
        DETAIL = format('Its lines hold products for the tiers %s of ladder %s.', conflict.tiers, conflict.ladder),
        HINT = 'Sell one of them, or each by a deal of its own.', SCHEMA = 'prm', TABLE = 'deal_line', COLUMN = 'product';
    END IF;
    SELECT array_agg(DISTINCT d.partner_id ORDER BY d.partner_id) INTO the_ids FROM prm.deal d
      WHERE d.program_id = batch.number AND d.deal_id = ANY (batch.deals) AND d.partner_id IS NOT NULL AND d.state = ANY (prm._won_states(batch.number));
    IF the_ids IS NOT NULL THEN
      INSERT INTO prm.tier_due (program_id, partner_id, cause) SELECT batch.number, i.partner_id, 'tier bought' FROM unnest(the_ids) AS i(partner_id);
      PERFORM prm._evaluate_tiers(batch.number, the_ids, NULL, true, false);
    END IF;
  END LOOP;
  RETURN NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._lines_bought() FROM PUBLIC;
COMMENT ON FUNCTION prm._lines_bought() IS 'Statement trigger of prm.deal_line: refuses (23514) products for two tiers of a ladder in one deal, and gives what a deal that is won already brings.';
CREATE OR REPLACE TRIGGER prm_40_tiers_insert AFTER INSERT ON prm.deal_line REFERENCING NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION prm._lines_bought();
CREATE OR REPLACE TRIGGER prm_40_tiers_update AFTER UPDATE ON prm.deal_line REFERENCING NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION prm._lines_bought();

CREATE OR REPLACE VIEW prm.v_tier_standing WITH (security_invoker = true) AS
  SELECT e.program_id, e.partner_id, p.name AS partner, e.ladder, e.tier AS held_tier, e.qualified_tier, c.tier AS cap_tier,
    CASE WHEN c.rank < h.rank THEN c.tier ELSE e.tier END AS effective_tier, CASE WHEN c.rank < h.rank THEN c.rank ELSE h.rank END AS effective_rank,
    e.standing, e.at_risk_on, e.grace_on, e.review_on, e.effective_on AS held_since, CASE WHEN e.pinned_until > prm.now() THEN e.pinned_until END AS pinned_until,
    CASE WHEN e.pinned_until > prm.now() THEN e.pin_reason END AS pin_reason, CASE WHEN c.rank IS NOT NULL THEN e.cap_until END AS cap_until,
    CASE WHEN c.rank IS NOT NULL THEN e.cap_reason END AS cap_reason, lower(e.valid) AS enrolled_from, upper(e.valid) AS enrolled_until
  FROM prm.enrolment e
  JOIN prm.partner p ON p.program_id = e.program_id AND p.partner_id = e.partner_id
  LEFT JOIN prm.tier h ON h.program_id = e.program_id AND h.ladder = e.ladder AND h.tier = e.tier
  LEFT JOIN prm.tier c ON c.program_id = e.program_id AND c.ladder = e.ladder AND c.tier = e.cap_tier AND (e.cap_until IS NULL OR e.cap_until > prm.now());
COMMENT ON VIEW prm.v_tier_standing IS 'Where each partner stands on each ladder: what it holds, what it met when last evaluated, its cap, and what counts, the lower of held and cap.';
COMMENT ON COLUMN prm.v_tier_standing.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_tier_standing.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.v_tier_standing.partner IS 'Its name.';
COMMENT ON COLUMN prm.v_tier_standing.ladder IS 'The ladder.';
COMMENT ON COLUMN prm.v_tier_standing.held_tier IS 'The tier it holds.';
COMMENT ON COLUMN prm.v_tier_standing.qualified_tier IS 'The highest tier that it met when last evaluated.';
COMMENT ON COLUMN prm.v_tier_standing.cap_tier IS 'The cap in force; empty: none.';
COMMENT ON COLUMN prm.v_tier_standing.effective_tier IS 'What counts for its benefits: the lower of the tier held and the cap. Commission rules for a tier go by the tier held.';
COMMENT ON COLUMN prm.v_tier_standing.effective_rank IS 'The rank of that.';
COMMENT ON COLUMN prm.v_tier_standing.standing IS 'active, at_risk or grace.';
COMMENT ON COLUMN prm.v_tier_standing.at_risk_on IS 'Day on which it was found short of its tier.';
COMMENT ON COLUMN prm.v_tier_standing.grace_on IS 'Day on which the last stretch before the review begins.';
COMMENT ON COLUMN prm.v_tier_standing.review_on IS 'Day on which it is demoted unless it recovers before.';
COMMENT ON COLUMN prm.v_tier_standing.held_since IS 'Day since which it holds its tier.';
COMMENT ON COLUMN prm.v_tier_standing.pinned_until IS 'Until when its tier is pinned; empty: it is not.';
COMMENT ON COLUMN prm.v_tier_standing.pin_reason IS 'Why it is pinned.';
COMMENT ON COLUMN prm.v_tier_standing.cap_until IS 'Until when the cap counts; empty: without end, or no cap.';
COMMENT ON COLUMN prm.v_tier_standing.cap_reason IS 'Why there is a cap.';
COMMENT ON COLUMN prm.v_tier_standing.enrolled_from IS 'Since when it is enrolled on the ladder.';
COMMENT ON COLUMN prm.v_tier_standing.enrolled_until IS 'When the enrolment ends; empty: without end.';

CREATE OR REPLACE VIEW prm.v_tier_approval WITH (security_invoker = true) AS
  SELECT a.program_id, a.tier_approval_id, a.partner_id, p.name AS partner, a.ladder, a.from_tier, a.to_tier, a.state, a.reason, a.metrics::text AS metrics,
    a.requested_at, a.decided_at, a.decided_by, a.decision_reason, a.asks_again_on
  FROM prm.tier_approval a
  JOIN prm.partner p ON p.program_id = a.program_id AND p.partner_id = a.partner_id;
COMMENT ON VIEW prm.v_tier_approval IS 'Promotions that wait for somebody (state open), and what was decided of others. approve_tier() and refuse_tier() decide.';
COMMENT ON COLUMN prm.v_tier_approval.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_tier_approval.tier_approval_id IS 'Number of the approval.';
COMMENT ON COLUMN prm.v_tier_approval.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.v_tier_approval.partner IS 'Its name.';
COMMENT ON COLUMN prm.v_tier_approval.ladder IS 'The ladder.';
COMMENT ON COLUMN prm.v_tier_approval.from_tier IS 'The tier held when it was asked for.';
COMMENT ON COLUMN prm.v_tier_approval.to_tier IS 'The tier that is asked for.';
COMMENT ON COLUMN prm.v_tier_approval.state IS 'open, approved, refused, or withdrawn: it is asked for no longer.';
COMMENT ON COLUMN prm.v_tier_approval.reason IS 'What the partner has.';
COMMENT ON COLUMN prm.v_tier_approval.metrics IS 'The metrics that it was based on, JSON.';
COMMENT ON COLUMN prm.v_tier_approval.requested_at IS 'When an evaluation asked.';
COMMENT ON COLUMN prm.v_tier_approval.decided_at IS 'When it was decided; empty: not yet.';
COMMENT ON COLUMN prm.v_tier_approval.decided_by IS 'Who decided.';
COMMENT ON COLUMN prm.v_tier_approval.decision_reason IS 'Why.';
COMMENT ON COLUMN prm.v_tier_approval.asks_again_on IS 'A refusal stands until this day; empty: while the partner qualifies for the same tier.';

CREATE OR REPLACE VIEW prm.v_tier_mismatch WITH (security_invoker = true) AS
  SELECT g.program_id, m.partner_id, p.name AS partner, m.ladder, m.held AS held_tier, m.cap AS cap_tier, m.effective AS effective_tier, m.qualified AS qualified_tier,
    m.direction, m.why, m.until, g.currency, m.revenue_12m, m.discount_at_stake, m.mdf_at_stake, m.commission_at_stake,
    m.discount_at_stake + m.mdf_at_stake + m.commission_at_stake AS money_at_stake
  FROM prm.program g
  CROSS JOIN LATERAL prm._tier_mismatches(g.program_id) m
  CROSS JOIN LATERAL (SELECT x.name FROM prm.partner x WHERE x.program_id = g.program_id AND x.partner_id = m.partner_id OFFSET 0) p;
COMMENT ON VIEW prm.v_tier_mismatch IS 'Partners that count for another tier than they meet at prm.now(), and what that costs in a year. Computed for all partners at once.';
COMMENT ON COLUMN prm.v_tier_mismatch.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_tier_mismatch.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.v_tier_mismatch.partner IS 'Its name.';
COMMENT ON COLUMN prm.v_tier_mismatch.ladder IS 'The ladder.';
COMMENT ON COLUMN prm.v_tier_mismatch.held_tier IS 'The tier it holds.';
COMMENT ON COLUMN prm.v_tier_mismatch.cap_tier IS 'The cap in force.';
COMMENT ON COLUMN prm.v_tier_mismatch.effective_tier IS 'What counts: the lower of the two.';
COMMENT ON COLUMN prm.v_tier_mismatch.qualified_tier IS 'The highest tier that it meets now.';
COMMENT ON COLUMN prm.v_tier_mismatch.direction IS 'above: it counts for more than it meets; below: for less.';
COMMENT ON COLUMN prm.v_tier_mismatch.why IS 'capped, pinned, at_risk, grace, needs_approval, refused, or due: the next evaluation changes it.';
COMMENT ON COLUMN prm.v_tier_mismatch.until IS 'Until when that lasts, as far as is known.';
COMMENT ON COLUMN prm.v_tier_mismatch.currency IS 'Currency of the amounts.';
COMMENT ON COLUMN prm.v_tier_mismatch.revenue_12m IS 'Won revenue of the last 12 months, on which the amounts are reckoned.';
COMMENT ON COLUMN prm.v_tier_mismatch.discount_at_stake IS 'Discount (benefits of kind discount) that the tier that counts gives beyond the one it meets, on that revenue; negative: it gives less.';
COMMENT ON COLUMN prm.v_tier_mismatch.mdf_at_stake IS 'The same for marketing funds (kind mdf_share).';
COMMENT ON COLUMN prm.v_tier_mismatch.commission_at_stake IS 'The same for commission, on ladder main: the rules of the partner''s plans for the tier held against those for the tier met, on that revenue in as many deals. Rules for single products, customers, regions or kinds are left out.';
COMMENT ON COLUMN prm.v_tier_mismatch.money_at_stake IS 'The sum: what the vendor gives in a year beyond what is met; negative: what the partner is short of.';

CREATE OR REPLACE VIEW prm.v_tier_plan WITH (security_invoker = true) AS
  SELECT n.program_id, n.tier_plan_id, n.partner_id, p.name AS partner, n.ladder, n.tier, n.track, n.purpose, n.due_on, n.state,
    k.task_id, k.title AS task, k.state AS task_state, k.done_by, k.done_at, n.created_by, n.created_at, n.closed_at
  FROM prm.tier_plan n
  JOIN prm.partner p ON p.program_id = n.program_id AND p.partner_id = n.partner_id
  LEFT JOIN prm.task k ON k.program_id = n.program_id AND k.machine = 'partner' AND k.subject_id = n.partner_id
    AND k.cause_key LIKE 'tier@_plan/' || n.tier_plan_id || '/%' ESCAPE '@';
COMMENT ON VIEW prm.v_tier_plan IS 'The plans by which partners reach or keep a tier: one row for each task, or one for a plan without.';
COMMENT ON COLUMN prm.v_tier_plan.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_tier_plan.tier_plan_id IS 'Number of the plan.';
COMMENT ON COLUMN prm.v_tier_plan.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.v_tier_plan.partner IS 'Its name.';
COMMENT ON COLUMN prm.v_tier_plan.ladder IS 'The ladder.';
COMMENT ON COLUMN prm.v_tier_plan.tier IS 'The tier to reach or keep.';
COMMENT ON COLUMN prm.v_tier_plan.track IS 'The track that is followed.';
COMMENT ON COLUMN prm.v_tier_plan.purpose IS 'reach or keep.';
COMMENT ON COLUMN prm.v_tier_plan.due_on IS 'When it should be done; empty: at no time.';
COMMENT ON COLUMN prm.v_tier_plan.state IS 'open, reached or dropped.';
COMMENT ON COLUMN prm.v_tier_plan.task_id IS 'Number of the task, for complete_task().';
COMMENT ON COLUMN prm.v_tier_plan.task IS 'What is to be done.';
COMMENT ON COLUMN prm.v_tier_plan.task_state IS 'open or done.';
COMMENT ON COLUMN prm.v_tier_plan.done_by IS 'Who did it; "tier plan": it was met.';
COMMENT ON COLUMN prm.v_tier_plan.done_at IS 'When it was done.';
COMMENT ON COLUMN prm.v_tier_plan.created_by IS 'Who made the plan.';
COMMENT ON COLUMN prm.v_tier_plan.created_at IS 'When.';
COMMENT ON COLUMN prm.v_tier_plan.closed_at IS 'When the plan ended.';

CREATE OR REPLACE VIEW prm.v_deal_points WITH (security_invoker = true) AS
  SELECT d.program_id, d.deal_id, c.partner_id, c.credit_type, d.product_family, d.kind, d.closed_at, c.amount, f.first_on, r.points AS rate, r.per_amount, coalesce(k.value_multiplier, 1) AS multiplier,
    c.amount * r.points / r.per_amount * coalesce(k.value_multiplier, 1) AS points
  FROM prm.deal d
  JOIN prm.program g ON g.program_id = d.program_id AND g.currency = d.currency
  JOIN LATERAL (
    SELECT x.partner_id, x.credit_type, d.amount * x.weight / 100 AS amount FROM prm.deal_partner x WHERE x.program_id = d.program_id AND x.deal_id = d.deal_id
    UNION ALL
    SELECT d.partner_id, 'sourced' AS credit_type, d.amount
    WHERE d.partner_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM prm.deal_partner x WHERE x.program_id = d.program_id AND x.deal_id = d.deal_id)) c ON true
  JOIN prm.partner p ON p.program_id = d.program_id AND p.partner_id = c.partner_id
  LEFT JOIN prm.customer u ON u.program_id = d.program_id AND u.customer_id = d.customer_id
  -- The rate of a product line is that of its first sale to the customer.
  CROSS JOIN LATERAL (
    SELECT (least(d.closed_at, (SELECT min(o.closed_at) FROM prm.deal o WHERE o.program_id = d.program_id AND o.customer_id = d.customer_id
      AND o.product_family = d.product_family AND o.state = ANY (prm._won_states(d.program_id)))) AT TIME ZONE g.time_zone)::date AS first_on) f
  JOIN LATERAL (
    SELECT t.points, t.per_amount FROM prm.tier_point_rate t
    WHERE t.program_id = d.program_id AND t.credit_type = c.credit_type AND t.valid @> f.first_on
      AND (t.product_family IS NULL OR t.product_family = d.product_family) AND (t.deal_kind IS NULL OR t.deal_kind = d.kind)
    ORDER BY t.product_family IS NULL, t.deal_kind IS NULL LIMIT 1) r ON true
  LEFT JOIN LATERAL (
    SELECT t.value_multiplier FROM prm.tier_market t
    WHERE t.program_id = d.program_id AND t.applies_to = 'deal' AND (t.country IS NULL OR t.country = coalesce(u.country, p.country))
      AND (t.region IS NULL OR t.region = coalesce(u.region, p.region))
    ORDER BY num_nonnulls(t.country, t.region) DESC, t.country IS NULL LIMIT 1) k ON true
  WHERE d.closed_at <= prm.now() AND d.amount IS NOT NULL AND d.state = ANY (prm._won_states(d.program_id));
COMMENT ON VIEW prm.v_deal_points IS 'The points that won deals give their partners, as tier_point_rate and the growth markets of tier_market say. Deals in other currencies than the programme''s give none.';
COMMENT ON COLUMN prm.v_deal_points.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_deal_points.deal_id IS 'The deal.';
COMMENT ON COLUMN prm.v_deal_points.partner_id IS 'The partner that gets credit.';
COMMENT ON COLUMN prm.v_deal_points.credit_type IS 'The type of credit; a deal without credits is sourced by its partner.';
COMMENT ON COLUMN prm.v_deal_points.product_family IS 'Product family of the deal.';
COMMENT ON COLUMN prm.v_deal_points.kind IS 'new, renewal or upsell.';
COMMENT ON COLUMN prm.v_deal_points.closed_at IS 'When the deal was won.';
COMMENT ON COLUMN prm.v_deal_points.amount IS 'The partner''s share of the amount.';
COMMENT ON COLUMN prm.v_deal_points.first_on IS 'Day of the first sale of the family to the customer, whose rate counts; without family or customer the day of the deal itself.';
COMMENT ON COLUMN prm.v_deal_points.rate IS 'Points for each per_amount.';
COMMENT ON COLUMN prm.v_deal_points.per_amount IS 'The amount that gives so many points.';
COMMENT ON COLUMN prm.v_deal_points.multiplier IS 'What the growth market of the customer, or else of the partner, makes of them.';
COMMENT ON COLUMN prm.v_deal_points.points IS 'The points.';

CREATE OR REPLACE VIEW prm.v_tier_points WITH (security_invoker = true) AS
  SELECT v.program_id, v.partner_id, sum(v.points) AS value
  FROM prm.v_deal_points v JOIN prm.program g ON g.program_id = v.program_id
  WHERE v.closed_at > ((prm.now() AT TIME ZONE g.time_zone) - interval '1 year') AT TIME ZONE g.time_zone
  GROUP BY v.program_id, v.partner_id;
COMMENT ON VIEW prm.v_tier_points IS 'The points of each partner in the last 12 months, in the shape of a metric.';
COMMENT ON COLUMN prm.v_tier_points.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_tier_points.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.v_tier_points.value IS 'Its points.';

COMMENT ON TABLE prm.tier_track IS 'Tracks that are judged otherwise than the ladder''s policy says.';
COMMENT ON COLUMN prm.tier_track.ladder IS 'The ladder.';
COMMENT ON COLUMN prm.tier_track.tier IS 'The tier.';
COMMENT ON COLUMN prm.tier_track.track IS 'The track.';
COMMENT ON COLUMN prm.tier_track.label IS 'Name for people.';
COMMENT ON COLUMN prm.tier_track.mode IS 'all or score, see tier_policy.mode.';
COMMENT ON COLUMN prm.tier_track.mark IS 'The points that its score must reach; empty: the mark of the policy.';
COMMENT ON COLUMN prm.tier_track.keep_mark IS 'The points that keep the tier once reached; empty: the same.';

COMMENT ON TABLE prm.tier_market IS 'Growth markets: what counts there for more, or for which less is asked. Of several rows that fit the one that names the metric counts, then the one that names more of the place.';
COMMENT ON COLUMN prm.tier_market.tier_market_id IS 'Number of the row.';
COMMENT ON COLUMN prm.tier_market.applies_to IS 'partner: the metrics of partners there, in the requirements of tiers; deal: the points of deals with customers there, in v_deal_points.';
COMMENT ON COLUMN prm.tier_market.ladder IS 'Only this ladder; empty: all.';
COMMENT ON COLUMN prm.tier_market.country IS 'The country; empty: any.';
COMMENT ON COLUMN prm.tier_market.region IS 'The sales region; empty: any.';
COMMENT ON COLUMN prm.tier_market.metric IS 'Only this metric; empty: all of which something is to be reached (>=). What must not be exceeded (<=) is changed only by a row that names it.';
COMMENT ON COLUMN prm.tier_market.value_multiplier IS 'By how much values count: 2 doubles them.';
COMMENT ON COLUMN prm.tier_market.threshold_multiplier IS 'By how much thresholds count: 0.5 halves them. Floors are not changed.';

COMMENT ON TABLE prm.tier_product IS 'Products that give a tier to the partner of a won deal that holds them.';
COMMENT ON COLUMN prm.tier_product.product IS 'The product.';
COMMENT ON COLUMN prm.tier_product.ladder IS 'The ladder.';
COMMENT ON COLUMN prm.tier_product.tier IS 'The tier; one deal gives one tier of a ladder at most.';
COMMENT ON COLUMN prm.tier_product.lasts IS 'For how long it counts as met, from the day the deal was won; empty: for good.';

COMMENT ON TABLE prm.tier_point_rate IS 'How many points a won deal gives for each so much of its amount. Of several rates that fit the one for the family counts, then the one for the kind of deal; of its versions the one in force on the day of the family''s first sale to the customer.';
COMMENT ON COLUMN prm.tier_point_rate.tier_point_rate_id IS 'Number of the row.';
COMMENT ON COLUMN prm.tier_point_rate.credit_type IS 'For this type of credit.';
COMMENT ON COLUMN prm.tier_point_rate.product_family IS 'Only for this family; empty: any.';
COMMENT ON COLUMN prm.tier_point_rate.deal_kind IS 'Only for new deals, renewals or upsells; empty: any.';
COMMENT ON COLUMN prm.tier_point_rate.points IS 'Points for each per_amount.';
COMMENT ON COLUMN prm.tier_point_rate.per_amount IS 'The amount, in the programme''s currency.';
COMMENT ON COLUMN prm.tier_point_rate.valid IS 'The days of first sale for which it counts, from (inclusive) to (exclusive).';

COMMENT ON TABLE prm.tier_approval IS 'Promotions that wait for somebody, and what was decided. Written by evaluations; approve_tier() and refuse_tier() decide.';
COMMENT ON COLUMN prm.tier_approval.tier_approval_id IS 'Number of the approval.';
COMMENT ON COLUMN prm.tier_approval.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.tier_approval.ladder IS 'The ladder.';
COMMENT ON COLUMN prm.tier_approval.from_tier IS 'The tier held when it was asked for.';
COMMENT ON COLUMN prm.tier_approval.to_tier IS 'The tier that is asked for.';
COMMENT ON COLUMN prm.tier_approval.state IS 'open, approved, refused, or withdrawn: it is asked for no longer.';
COMMENT ON COLUMN prm.tier_approval.stands IS 'Whether it still counts: false for what is done with.';
COMMENT ON COLUMN prm.tier_approval.reason IS 'What the partner has.';
COMMENT ON COLUMN prm.tier_approval.metrics IS 'The metrics that it was based on, an object.';
COMMENT ON COLUMN prm.tier_approval.requested_at IS 'When an evaluation asked.';
COMMENT ON COLUMN prm.tier_approval.decided_at IS 'When it was decided.';
COMMENT ON COLUMN prm.tier_approval.decided_by IS 'Who decided.';
COMMENT ON COLUMN prm.tier_approval.decision_reason IS 'Why.';
COMMENT ON COLUMN prm.tier_approval.asks_again_on IS 'A refusal stands until this day; empty: while the partner qualifies for the same tier.';

COMMENT ON TABLE prm.tier_plan IS 'Plans by which partners reach or keep a tier; their tasks are rows of prm.task with the cause tier_plan/number/what. One open plan for each partner and ladder.';
COMMENT ON COLUMN prm.tier_plan.tier_plan_id IS 'Number of the plan.';
COMMENT ON COLUMN prm.tier_plan.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.tier_plan.ladder IS 'The ladder.';
COMMENT ON COLUMN prm.tier_plan.tier IS 'The tier to reach or keep.';
COMMENT ON COLUMN prm.tier_plan.track IS 'The track that is followed.';
COMMENT ON COLUMN prm.tier_plan.purpose IS 'reach or keep.';
COMMENT ON COLUMN prm.tier_plan.task_for IS 'Whose the tasks are: the people of the partner, or the vendor''s (owner).';
COMMENT ON COLUMN prm.tier_plan.role_name IS 'The database role whose members do the tasks; empty: anybody.';
COMMENT ON COLUMN prm.tier_plan.due_on IS 'When it should be done; empty: at no time.';
COMMENT ON COLUMN prm.tier_plan.state IS 'open, reached or dropped.';
COMMENT ON COLUMN prm.tier_plan.created_by IS 'Who made it.';
COMMENT ON COLUMN prm.tier_plan.closed_at IS 'When it ended.';

CREATE OR REPLACE VIEW prm.v_tier_history WITH (security_invoker = true) AS
  SELECT h.program_id, h.tier_history_id, h.partner_id, p.name AS partner, h.ladder, h.from_tier, h.to_tier,
    CASE WHEN h.from_tier IS NOT DISTINCT FROM h.to_tier THEN 'same' WHEN h.to_tier IS NULL OR t.rank < f.rank THEN 'down' WHEN h.from_tier IS NULL OR t.rank > f.rank THEN 'up' END AS direction,
    h.outcome, h.reason, h.metrics::text AS metrics, h.actor, h.at
  FROM prm.tier_history h
  JOIN prm.partner p ON p.program_id = h.program_id AND p.partner_id = h.partner_id
  LEFT JOIN prm.tier f ON f.program_id = h.program_id AND f.ladder = h.ladder AND f.tier = h.from_tier
  LEFT JOIN prm.tier t ON t.program_id = h.program_id AND t.ladder = h.ladder AND t.tier = h.to_tier;
COMMENT ON VIEW prm.v_tier_history IS 'What happened to the tiers of partners, each with its reason and the metrics that it was based on.';
COMMENT ON COLUMN prm.v_tier_history.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_tier_history.tier_history_id IS 'Number of the row.';
COMMENT ON COLUMN prm.v_tier_history.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.v_tier_history.partner IS 'Its name.';
COMMENT ON COLUMN prm.v_tier_history.ladder IS 'The ladder.';
COMMENT ON COLUMN prm.v_tier_history.from_tier IS 'The tier before; empty: none.';
COMMENT ON COLUMN prm.v_tier_history.to_tier IS 'The tier after; empty: none.';
COMMENT ON COLUMN prm.v_tier_history.direction IS 'up, down, or same where the tier stayed (at risk, grace, pinned, capped ...); empty where a tier is gone since.';
COMMENT ON COLUMN prm.v_tier_history.outcome IS 'What happened: promote, at_risk, grace, demote, pinned, capped ...';
COMMENT ON COLUMN prm.v_tier_history.reason IS 'Why, in words.';
COMMENT ON COLUMN prm.v_tier_history.metrics IS 'The metrics that it was based on, JSON.';
COMMENT ON COLUMN prm.v_tier_history.actor IS 'Who, or which job, did it.';
COMMENT ON COLUMN prm.v_tier_history.at IS 'When.';
