
-- Segments: what the tables hold, and the views over them.

COMMENT ON TABLE prm.segment IS 'Groups of partners, by criteria over profile and metrics, or by hand. A partner, a prospect too, may be in several.';
COMMENT ON COLUMN prm.segment.segment IS 'Short name.';
COMMENT ON COLUMN prm.segment.label IS 'Name for people.';
COMMENT ON COLUMN prm.segment.description IS 'What it is for.';
COMMENT ON COLUMN prm.segment.criteria IS 'Who belongs to it: a jsonpath comparison over {partner, metrics, certifications, health}, strict, so that an absent field satisfies nothing; NULL: a static segment, whose members are set by hand.';
COMMENT ON COLUMN prm.segment.touch_model IS 'How its partners are cared for: high (a person of their own), tech (by the portal), pooled (a shared team); NULL: it does not say.';
COMMENT ON COLUMN prm.segment.position IS 'Place in lists; where one segment must be chosen among several, the lowest wins.';
COMMENT ON COLUMN prm.segment.partner_visible IS 'Whether partners are told that they are in it, by my_segments() and in what they are compared with; nothing else of it is theirs to read.';
COMMENT ON COLUMN prm.segment.is_active IS 'False: refresh_segments() ends its memberships by criteria.';

COMMENT ON TABLE prm.segment_member IS 'Who is, or was, in a segment when. Who is in it now: valid @> prm.now(). Written by refresh_segments(), add_segment_member() and remove_segment_member().';
COMMENT ON COLUMN prm.segment_member.segment IS 'The segment.';
COMMENT ON COLUMN prm.segment_member.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.segment_member.valid IS 'From when (it belongs to it) until when (it does not); no end: until further notice.';
COMMENT ON COLUMN prm.segment_member.source IS 'criteria: found by refresh_segments(). manual: put there by somebody, and kept whatever the criteria say.';
COMMENT ON COLUMN prm.segment_member.reason IS 'Why it was put there by hand.';
COMMENT ON COLUMN prm.segment_member.actor IS 'Who wrote the row: the setting prm.actor, else the role.';

COMMENT ON TABLE prm.ipp_model IS 'What the ideal partner looks like: versions of a model, of which one is in force.';
COMMENT ON COLUMN prm.ipp_model.model IS 'The model; ipp_score() takes standard by default.';
COMMENT ON COLUMN prm.ipp_model.version IS 'Its version, from 1.';
COMMENT ON COLUMN prm.ipp_model.label IS 'Name for people.';
COMMENT ON COLUMN prm.ipp_model.is_active IS 'Whether this version is the one in force.';
COMMENT ON TABLE prm.ipp_criterion IS 'What a version of the model counts: each criterion that a partner meets adds its share of the weights.';
COMMENT ON COLUMN prm.ipp_criterion.model IS 'The model.';
COMMENT ON COLUMN prm.ipp_criterion.version IS 'Its version.';
COMMENT ON COLUMN prm.ipp_criterion.criterion IS 'Short name.';
COMMENT ON COLUMN prm.ipp_criterion.label IS 'What it says, for people.';
COMMENT ON COLUMN prm.ipp_criterion.criteria IS 'A jsonpath comparison over the same document as the criteria of segments.';
COMMENT ON COLUMN prm.ipp_criterion.weight IS 'Its weight; the score is 100 times the weights met over all weights.';
COMMENT ON COLUMN prm.ipp_criterion.position IS 'Place in the list.';

-- Criteria are checked when they are written.
ALTER TABLE prm.segment DROP CONSTRAINT IF EXISTS segment_criteria_check;
ALTER TABLE prm.segment ADD CONSTRAINT segment_criteria_check CHECK (prm._check_criteria(criteria));
ALTER TABLE prm.ipp_criterion DROP CONSTRAINT IF EXISTS ipp_criterion_criteria_check;
ALTER TABLE prm.ipp_criterion ADD CONSTRAINT ipp_criterion_criteria_check CHECK (prm._check_criteria(criteria));

CREATE OR REPLACE FUNCTION prm._criteria_row() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_name text;
  the_hint text;
BEGIN
  IF NEW.criteria IS NULL THEN
    RETURN NEW;
  END IF;
  PERFORM prm._check_criteria(NEW.criteria);
  SELECT n.name INTO the_name FROM unnest(prm._criteria_names(ARRAY[NEW.criteria], 'metrics')) AS n(name)
    WHERE NOT EXISTS (SELECT 1 FROM prm.metric m WHERE m.program_id = NEW.program_id AND m.metric = n.name) ORDER BY 1 LIMIT 1;
  the_hint := 'SELECT metric FROM prm.metric lists the metrics.';
  IF the_name IS NULL THEN
    SELECT n.name INTO the_name FROM unnest(prm._criteria_names(ARRAY[NEW.criteria], 'certifications')) AS n(name)
      WHERE NOT EXISTS (SELECT 1 FROM prm.certification k WHERE k.program_id = NEW.program_id AND k.certification = n.name) ORDER BY 1 LIMIT 1;
    the_hint := 'SELECT certification FROM prm.certification lists the certifications.';
  END IF;
  IF the_name IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('the condition "%s" can never be decided', NEW.criteria),
      DETAIL = format('Programme %s has no "%s".', NEW.program_id, the_name), HINT = the_hint, SCHEMA = 'prm', TABLE = TG_TABLE_NAME, COLUMN = 'criteria';
  END IF;
  RETURN NEW;
END
$prm$;
REVOKE ALL ON FUNCTION prm._criteria_row() FROM PUBLIC;
COMMENT ON FUNCTION prm._criteria_row() IS 'Trigger of segment and ipp_criterion: refuses criteria over metrics or certifications that the programme does not have (22023).';
CREATE OR REPLACE TRIGGER prm_10_criteria BEFORE INSERT OR UPDATE ON prm.segment FOR EACH ROW EXECUTE FUNCTION prm._criteria_row();
CREATE OR REPLACE TRIGGER prm_10_criteria BEFORE INSERT OR UPDATE ON prm.ipp_criterion FOR EACH ROW EXECUTE FUNCTION prm._criteria_row();

CREATE OR REPLACE FUNCTION prm._segment_in_use() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_users text;
BEGIN
  -- The foreign keys say no as well; this says what to do.
  SELECT string_agg(u.name, ', ' ORDER BY u.name) INTO the_users FROM (
    SELECT format('health model "%s"', m.model) AS name FROM prm.health_model m WHERE m.program_id = OLD.program_id AND m.segment = OLD.segment
    UNION ALL
    SELECT DISTINCT format('benchmarks of metric "%s"', b.metric) FROM prm.metric_benchmark b WHERE b.program_id = OLD.program_id AND b.segment = OLD.segment) u;
  IF the_users IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '23503', MESSAGE = format('segment "%s" is in use', OLD.segment),
      DETAIL = format('There are, for its members: %s.', the_users),
      HINT = 'Set segment in prm.health_model or prm.metric_benchmark to another one or to NULL, or delete what is for its members; is_active = false keeps the segment as it is.', SCHEMA = 'prm', TABLE = 'segment';
  END IF;
  RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END
$prm$;
REVOKE ALL ON FUNCTION prm._segment_in_use() FROM PUBLIC;
COMMENT ON FUNCTION prm._segment_in_use() IS 'Trigger of segment: says by what a segment is used that somebody deletes or renames (23503).';
CREATE OR REPLACE TRIGGER prm_10_in_use_delete BEFORE DELETE ON prm.segment FOR EACH ROW EXECUTE FUNCTION prm._segment_in_use();
CREATE OR REPLACE TRIGGER prm_10_in_use_update BEFORE UPDATE OF program_id, segment ON prm.segment FOR EACH ROW
  WHEN ((NEW.program_id, NEW.segment) IS DISTINCT FROM (OLD.program_id, OLD.segment)) EXECUTE FUNCTION prm._segment_in_use();

CREATE OR REPLACE FUNCTION prm._write_segment_members(program_id bigint, segments text[], partner_ids bigint[], joins boolean[], source text, reason text, until timestamptz, actor text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_now timestamptz := prm.now();
BEGIN
  -- What began at this moment never held: it goes. Others end now.
  DELETE FROM prm.segment_member m USING unnest(_write_segment_members.segments, _write_segment_members.partner_ids) AS c(segment, partner_id)
    WHERE m.program_id = _write_segment_members.program_id AND m.segment = c.segment AND m.partner_id = c.partner_id AND m.valid @> the_now AND lower(m.valid) = the_now;
  UPDATE prm.segment_member m SET valid = tstzrange(lower(m.valid), the_now)
    FROM unnest(_write_segment_members.segments, _write_segment_members.partner_ids) AS c(segment, partner_id)
    WHERE m.program_id = _write_segment_members.program_id AND m.segment = c.segment AND m.partner_id = c.partner_id AND m.valid @> the_now;
  INSERT INTO prm.segment_member (program_id, segment, partner_id, valid, source, reason, actor)
    SELECT _write_segment_members.program_id, c.segment, c.partner_id,
      -- Never past what is known to begin later, such as after the clock was turned back.
      tstzrange(the_now, least(_write_segment_members.until, (SELECT min(lower(n.valid)) FROM prm.segment_member n
        WHERE n.program_id = _write_segment_members.program_id AND n.segment = c.segment AND n.partner_id = c.partner_id AND lower(n.valid) > the_now))),
      _write_segment_members.source, _write_segment_members.reason, _write_segment_members.actor
    FROM unnest(_write_segment_members.segments, _write_segment_members.partner_ids, _write_segment_members.joins) AS c(segment, partner_id, is_join)
    WHERE c.is_join ORDER BY c.segment, c.partner_id
    -- Whoever may not see what another session wrote is told to try again (40001).
    ON CONFLICT DO NOTHING;
  -- Of those segments only that give something.
  PERFORM prm._sync_benefits(_write_segment_members.program_id, c.ids) FROM (
    SELECT array_agg(DISTINCT x.partner_id ORDER BY x.partner_id) AS ids FROM unnest(_write_segment_members.segments, _write_segment_members.partner_ids) AS x(segment, partner_id)
    WHERE x.segment = ANY (ARRAY(SELECT b.segment FROM prm.benefit b WHERE b.program_id = _write_segment_members.program_id AND b.segment IS NOT NULL))) c
    WHERE c.ids IS NOT NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._write_segment_members(bigint, text[], bigint[], boolean[], text, text, timestamptz, text) FROM PUBLIC;
COMMENT ON FUNCTION prm._write_segment_members(bigint, text[], bigint[], boolean[], text, text, timestamptz, text) IS
'Ends the memberships of the partners in the segments beside them, now, and where joins says so begins new ones; what the segments give follows. The caller holds the lock. For the functions of segments, which admins and managers may call.';

CREATE OR REPLACE VIEW prm.v_segment WITH (security_invoker = true) AS
  SELECT s.program_id, s.segment, s.label, s.touch_model, s.criteria, s.is_active, coalesce(m.members, 0) AS members, coalesce(m.by_hand, 0) AS by_hand, coalesce(m.prospects, 0) AS prospects, m.last_change
  FROM prm.segment s
  LEFT JOIN (
    SELECT x.program_id, x.segment, count(*) AS members, count(*) FILTER (WHERE x.source = 'manual') AS by_hand, count(*) FILTER (WHERE p.state = 'applicant') AS prospects, max(lower(x.valid)) AS last_change
    FROM prm.segment_member x JOIN prm.partner p ON p.program_id = x.program_id AND p.partner_id = x.partner_id
    WHERE x.valid @> prm.now() GROUP BY x.program_id, x.segment) m ON m.program_id = s.program_id AND m.segment = s.segment;
COMMENT ON VIEW prm.v_segment IS 'The segments with how many partners are in each at prm.now().';
COMMENT ON COLUMN prm.v_segment.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_segment.segment IS 'The segment.';
COMMENT ON COLUMN prm.v_segment.label IS 'Its name for people.';
COMMENT ON COLUMN prm.v_segment.touch_model IS 'high, tech or pooled; empty: it does not say.';
COMMENT ON COLUMN prm.v_segment.criteria IS 'Who belongs to it; empty: members are set by hand.';
COMMENT ON COLUMN prm.v_segment.is_active IS 'Whether its criteria are in force.';
COMMENT ON COLUMN prm.v_segment.members IS 'Partners in it.';
COMMENT ON COLUMN prm.v_segment.by_hand IS 'Those set by hand.';
COMMENT ON COLUMN prm.v_segment.prospects IS 'Those who are applicants still.';
COMMENT ON COLUMN prm.v_segment.last_change IS 'When the newest of them joined.';

CREATE OR REPLACE VIEW prm.v_segment_member WITH (security_invoker = true) AS
  SELECT m.program_id, m.segment, s.label, m.partner_id, p.name AS partner, p.state, p.kind, p.tier, m.source, m.reason, lower(m.valid) AS since, upper(m.valid) AS until
  FROM prm.segment_member m
  JOIN prm.segment s ON s.program_id = m.program_id AND s.segment = m.segment
  JOIN prm.partner p ON p.program_id = m.program_id AND p.partner_id = m.partner_id
  WHERE m.valid @> prm.now();
COMMENT ON VIEW prm.v_segment_member IS 'Who is in which segment at prm.now(). For another moment t: SELECT ... FROM prm.segment_member WHERE valid @> t.';
COMMENT ON COLUMN prm.v_segment_member.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_segment_member.segment IS 'The segment.';
COMMENT ON COLUMN prm.v_segment_member.label IS 'Its name for people.';
COMMENT ON COLUMN prm.v_segment_member.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.v_segment_member.partner IS 'Its name.';
COMMENT ON COLUMN prm.v_segment_member.state IS 'Its state; prospects are members too.';
COMMENT ON COLUMN prm.v_segment_member.kind IS 'Its kind.';
COMMENT ON COLUMN prm.v_segment_member.tier IS 'Its tier.';
COMMENT ON COLUMN prm.v_segment_member.source IS 'criteria, or manual.';
COMMENT ON COLUMN prm.v_segment_member.reason IS 'Why it was put there by hand.';
COMMENT ON COLUMN prm.v_segment_member.since IS 'Since when.';
COMMENT ON COLUMN prm.v_segment_member.until IS 'Until when; empty: until further notice.';

CREATE OR REPLACE VIEW prm.v_ipp_score WITH (security_invoker = true) AS
  SELECT s.program_id, s.partner_id, p.name AS partner, p.state, s.model, s.version, s.score
  -- Grouped here, so that the points are counted once for each model and not for each partner.
  FROM (
    SELECT m.program_id, m.model, m.version, x.partner_id, sum(x.points) AS score
    FROM prm.ipp_model m
    CROSS JOIN LATERAL (SELECT array_agg(q.partner_id) AS ids, array_agg(prm.now()) AS moments FROM prm.partner q WHERE q.program_id = m.program_id) a
    CROSS JOIN LATERAL prm._ipp_points(m.program_id, m.model, m.version, a.ids, a.moments) x
    WHERE m.is_active
    GROUP BY m.program_id, m.model, m.version, x.partner_id) s
  CROSS JOIN LATERAL (SELECT x.name, x.state FROM prm.partner x WHERE x.program_id = s.program_id AND x.partner_id = s.partner_id OFFSET 0) p;
COMMENT ON VIEW prm.v_ipp_score IS 'How near every partner and prospect is to the ideal partner, by the versions in force, at prm.now(). For one partner ipp_score() also says why.';
COMMENT ON COLUMN prm.v_ipp_score.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_ipp_score.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.v_ipp_score.partner IS 'Its name.';
COMMENT ON COLUMN prm.v_ipp_score.state IS 'Its state; applicants are prospects.';
COMMENT ON COLUMN prm.v_ipp_score.model IS 'The profile.';
COMMENT ON COLUMN prm.v_ipp_score.version IS 'Its version.';
COMMENT ON COLUMN prm.v_ipp_score.score IS '0 to 100.';
