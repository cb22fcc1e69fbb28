
-- Segments: which partners belong to which groups, by criteria over one document of profile and figures, or by hand.
-- The ideal partner profile stands in 78_segment_ipp.sql.

CREATE TYPE prm.segment_document_row AS (partner_id bigint, moment timestamptz, document jsonb);
COMMENT ON TYPE prm.segment_document_row IS 'What the criteria of segments see of a partner at a moment.';
CREATE TYPE prm.segment_change AS (segment text, partner_id bigint, outcome text);
COMMENT ON TYPE prm.segment_change IS 'A row of refresh_segments(): segment, partner, and joined or left.';
CREATE TYPE prm.segment_explanation AS (segment text, is_member boolean, matches boolean, source text, since timestamptz, condition text, holds boolean, found jsonb, note text);
COMMENT ON TYPE prm.segment_explanation IS
'A row of explain_segment(), one for each condition of a segment: whether the partner is in it, whether it would be by the criteria now, by what and since when it is, the condition, whether that holds (NULL: it cannot be decided), what was found for the fields it names, and a word on it.';

CREATE FUNCTION prm._check_criteria(criteria text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $prm$
#variable_conflict use_column
DECLARE
  the_fields constant text[] := ARRAY['partner_id', 'name', 'kind', 'parent_id', 'state', 'tier', 'country', 'region', 'postal_code', 'latitude', 'longitude', 'email', 'domain', 'joined_on', 'days_joined', 'attributes'];
  the_path text;
  the_fault text;
  the_known text;
BEGIN
  PERFORM prm._check_comparison(_check_criteria.criteria, ARRAY['partner', 'metrics', 'certifications', 'health'], 'partner_id|parent_id|latitude|longitude|days_joined',
    'health"\."score|(metrics|certifications)"\."([^"\\]|\\.)*', '$.partner.country == "DE" && $.metrics.revenue_12m >= 50000', 'segment', 'criteria');
  -- A field of the partner that there is not would never be found, and nobody would know why.
  the_path := prm._condition(_check_criteria.criteria)::text;
  SELECT m[1] INTO the_fault FROM regexp_matches(the_path, '\$\."partner"\."((?:\\.|[^"\\])*)"', 'g') AS m WHERE NOT m[1] = ANY (the_fields) LIMIT 1;
  the_known := 'The fields of the partner are ' || array_to_string(the_fields, ', ') || '.';
  IF the_fault IS NULL THEN
    SELECT m[1] INTO the_fault FROM regexp_matches(the_path, '\$\."health"\."((?:\\.|[^"\\])*)"', 'g') AS m WHERE NOT m[1] IN ('score', 'band') LIMIT 1;
    the_known := 'The fields of health are score and band.';
  END IF;
  IF the_fault IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('the condition "%s" can never be decided', _check_criteria.criteria),
      DETAIL = format('There is no field "%s". %s', the_fault, the_known), HINT = 'Fields of your own stand in $.partner.attributes.', SCHEMA = 'prm', TABLE = 'segment', COLUMN = 'criteria';
  END IF;
  RETURN true;
END
$prm$;
COMMENT ON FUNCTION prm._check_criteria(text) IS
'For a CHECK constraint: true for criteria that a segment or an ideal partner profile may have, a jsonpath comparison over partner, metrics, certifications and health. Errors: 22P02 no jsonpath; 22023 unknown part or field, and what _check_comparison() refuses.';

CREATE FUNCTION prm._criteria_names(criteria text[], part text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $prm$
#variable_conflict use_column
DECLARE
  the_paths text := (SELECT string_agg(prm._condition(c.text)::text, ' ') FROM unnest(_criteria_names.criteria) AS c(text));
BEGIN
  IF the_paths !~ ('\$\."' || _criteria_names.part || '"') OR the_paths IS NULL THEN
    RETURN '{}';
  ELSIF the_paths ~ ('\$\."' || _criteria_names.part || '"(?!\."[^"\\]*")') OR the_paths ~ '\$(?!\."[a-z]+")' THEN
    -- It is taken as a whole, so every name may matter.
    RETURN NULL;
  END IF;
  RETURN (SELECT array_agg(DISTINCT m[1]) FROM regexp_matches(the_paths, '\$\."' || _criteria_names.part || '"\."([^"\\]*)"', 'g') AS m);
END
$prm$;
COMMENT ON FUNCTION prm._criteria_names(text[], text) IS 'The names below a part of the document (metrics, certifications, health) that criteria speak of; empty: none; NULL: perhaps all.';

CREATE FUNCTION prm._segment_documents(program_id bigint, partner_ids bigint[], moments timestamptz[], criteria text[]) RETURNS SETOF prm.segment_document_row
LANGUAGE plpgsql STABLE ROWS 5000 SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_zone text := prm._program_time_zone(_segment_documents.program_id);
  the_metrics text[] := prm._criteria_names(_segment_documents.criteria, 'metrics');
  the_certifications text[] := prm._criteria_names(_segment_documents.criteria, 'certifications');
  the_health boolean := prm._criteria_names(_segment_documents.criteria, 'health') IS DISTINCT FROM '{}';
BEGIN
  IF the_certifications IS NULL THEN
    SELECT coalesce(array_agg(k.certification), '{}') INTO the_certifications FROM prm.certification k WHERE k.program_id = _segment_documents.program_id;
  END IF;
  RETURN QUERY
    WITH asked AS MATERIALIZED (
      SELECT a.partner_id, a.moment FROM unnest(_segment_documents.partner_ids, _segment_documents.moments) AS a(partner_id, moment)),
    rounds AS MATERIALIZED (
      SELECT a.moment, array_agg(a.partner_id) AS ids FROM asked a GROUP BY a.moment),
    measured AS MATERIALIZED (
      SELECT r.moment, v.partner_id, jsonb_object_agg(v.metric, v.value) AS metrics FROM rounds r
      CROSS JOIN LATERAL prm._metric_values(_segment_documents.program_id, r.ids, r.moment, the_metrics) v
      WHERE the_metrics IS DISTINCT FROM '{}' GROUP BY r.moment, v.partner_id),
    certified AS MATERIALIZED (
      SELECT r.moment, v.partner_id, jsonb_object_agg(v.metric, v.value) AS people FROM rounds r
      CROSS JOIN LATERAL prm._certified_people(_segment_documents.program_id, r.ids, r.moment, the_certifications) v
      WHERE the_certifications <> '{}' GROUP BY r.moment, v.partner_id)
    SELECT a.partner_id, a.moment, jsonb_strip_nulls(jsonb_build_object(
        'partner', jsonb_build_object('partner_id', p.partner_id, 'name', p.name, 'kind', CASE WHEN h.is_past THEN h.kind ELSE p.kind END, 'parent_id', CASE WHEN h.is_past THEN h.parent_id ELSE p.parent_id END,
          'state', coalesce(s.state, p.state), 'tier', CASE WHEN h.is_past THEN h.tier ELSE p.tier END, 'country', CASE WHEN h.is_past THEN h.country ELSE p.country END,
          'region', CASE WHEN h.is_past THEN h.region ELSE p.region END, 'postal_code', p.postal_code, 'latitude', p.latitude, 'longitude', p.longitude, 'email', p.email, 'domain', p.domain,
          'joined_on', p.joined_on, 'days_joined', (a.moment AT TIME ZONE the_zone)::date - p.joined_on, 'attributes', CASE WHEN h.is_past THEN h.attributes ELSE p.attributes END),
        'metrics', coalesce(m.metrics, '{}'), 'certifications', coalesce(c.people, '{}'), 'health', CASE WHEN n.band IS NOT NULL THEN jsonb_build_object('score', n.score, 'band', n.band) END))
    FROM asked a
    CROSS JOIN LATERAL (SELECT x.* FROM prm.partner x WHERE x.program_id = _segment_documents.program_id AND x.partner_id = a.partner_id OFFSET 0) p
    -- A past moment is answered from the history; before its beginning by its first row.
    LEFT JOIN LATERAL (
      SELECT true AS is_past, x.kind, x.parent_id, x.tier, x.country, x.region, x.attributes FROM prm.partner_history x
      WHERE a.moment < prm.now() AND x.program_id = _segment_documents.program_id AND x.partner_id = a.partner_id
      ORDER BY x.valid @> a.moment DESC, lower(x.valid) NULLS FIRST LIMIT 1) h ON true
    LEFT JOIN LATERAL (
      SELECT x.to_state AS state FROM prm.state_history x
      WHERE a.moment < prm.now() AND x.program_id = _segment_documents.program_id AND x.machine = 'partner' AND x.subject_id = a.partner_id AND x.to_state IS NOT NULL
      ORDER BY x.at <= a.moment DESC, CASE WHEN x.at <= a.moment THEN x.history_id END DESC NULLS LAST, x.history_id LIMIT 1) s ON true
    LEFT JOIN LATERAL (
      SELECT x.score, x.band FROM prm.health_snapshot x
      WHERE the_health AND x.program_id = _segment_documents.program_id AND x.partner_id = a.partner_id AND x.taken_at <= a.moment ORDER BY x.taken_at DESC LIMIT 1) n ON true
    LEFT JOIN measured m ON m.moment = a.moment AND m.partner_id = a.partner_id
    LEFT JOIN certified c ON c.moment = a.moment AND c.partner_id = a.partner_id;
END
$prm$;
COMMENT ON FUNCTION prm._segment_documents(bigint, bigint[], timestamptz[], text[]) IS
'What criteria see of the partners, each at the moment beside it: profile (of a past moment from its history), the metrics and certifications that the criteria name, and the newest health snapshot. Nulls are stripped.';

CREATE FUNCTION prm.segment_document(partner_id bigint, program_id bigint DEFAULT prm.current_program()) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(segment_document.program_id);
  the_partner bigint := prm._partner_argument(the_program, segment_document.partner_id);
BEGIN
  RETURN (SELECT d.document FROM prm._segment_documents(the_program, ARRAY[the_partner], ARRAY[prm.now()], ARRAY['exists($.metrics) && exists($.certifications) && exists($.health)']) d);
END
$prm$;
COMMENT ON FUNCTION prm.segment_document(bigint, bigint) IS
'What the criteria of segments and of the ideal partner profile see of a partner now: {partner, metrics, certifications (people by certification), health (of the newest snapshot)}. Error 42704 unknown partner.';

CREATE FUNCTION prm._segment_matches(program_id bigint, partner_ids bigint[], segments text[] DEFAULT NULL) RETURNS SETOF prm.segment_change
LANGUAGE plpgsql STABLE ROWS 10000 SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_ids bigint[] := _segment_matches.partner_ids;
  the_names text[];
  the_criteria text[];
BEGIN
  SELECT array_agg(s.segment), array_agg(s.criteria) INTO the_names, the_criteria FROM prm.segment s
    WHERE s.program_id = _segment_matches.program_id AND s.is_active AND s.criteria IS NOT NULL AND (_segment_matches.segments IS NULL OR s.segment = ANY (_segment_matches.segments));
  IF the_names IS NULL THEN
    RETURN;
  ELSIF the_ids IS NULL THEN
    SELECT array_agg(p.partner_id ORDER BY p.partner_id) INTO the_ids FROM prm.partner p WHERE p.program_id = _segment_matches.program_id;
  END IF;
  RETURN QUERY
    WITH path AS MATERIALIZED (SELECT n.segment, prm._condition(n.criteria) AS condition FROM unnest(the_names, the_criteria) AS n(segment, criteria)),
    seen AS MATERIALIZED (
      SELECT d.partner_id, d.document FROM prm._segment_documents(_segment_matches.program_id, the_ids, array_fill(prm.now(), ARRAY[coalesce(cardinality(the_ids), 0)]), the_criteria) d)
    SELECT p.segment, s.partner_id, 'matches' FROM seen s CROSS JOIN path p WHERE jsonb_path_match(s.document, p.condition, '{}', true);
END
$prm$;
COMMENT ON FUNCTION prm._segment_matches(bigint, bigint[], text[]) IS 'Which partners (NULL: all) the criteria of which active segments (NULL: all) take in now, in one pass. Only a clear true counts.';

CREATE FUNCTION prm.refresh_segments(dry_run boolean DEFAULT false, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.segment_change
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(refresh_segments.program_id);
  the_segments text[];
  the_partners bigint[];
  the_joins boolean[];
BEGIN
  IF NOT coalesce(refresh_segments.dry_run, false) THEN
    PERFORM prm._lock_segments(the_program);
  END IF;
  SELECT array_agg(c.segment ORDER BY c.segment, c.partner_id), array_agg(c.partner_id ORDER BY c.segment, c.partner_id), array_agg(c.is_join ORDER BY c.segment, c.partner_id)
    INTO the_segments, the_partners, the_joins
    FROM (
      SELECT coalesce(w.segment, h.segment) AS segment, coalesce(w.partner_id, h.partner_id) AS partner_id, h.segment IS NULL AS is_join
      FROM prm._segment_matches(the_program, NULL) w
      FULL JOIN (SELECT m.segment, m.partner_id, m.source FROM prm.segment_member m WHERE m.program_id = the_program AND m.valid @> prm.now()) h
        ON h.segment = w.segment AND h.partner_id = w.partner_id
      WHERE h.segment IS NULL OR (w.segment IS NULL AND h.source = 'criteria')) c;
  IF the_segments IS NULL THEN
    RETURN;
  ELSIF NOT coalesce(refresh_segments.dry_run, false) THEN
    PERFORM prm._write_segment_members(the_program, the_segments, the_partners, the_joins, 'criteria', NULL, NULL, prm.current_actor());
  END IF;
  RETURN QUERY SELECT c.segment, c.partner_id, CASE WHEN c.is_join THEN 'joined' ELSE 'left' END FROM unnest(the_segments, the_partners, the_joins) AS c(segment, partner_id, is_join);
END
$prm$;
COMMENT ON FUNCTION prm.refresh_segments(boolean, bigint) IS
'Brings the memberships in line with the criteria, for all partners and segments in one pass, and returns who joined and who left; a second run finds nothing. Members set by hand stay. dry_run only tells. Run by run_jobs() once per business day. For admins, managers and the owner (42501).';

CREATE FUNCTION prm._lock_segments(program_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  -- Two that refresh at once would both add what is missing; the second waits, and then finds it there.
  PERFORM pg_advisory_xact_lock(hashtextextended(format('prm segments %s', _lock_segments.program_id), 7239211));
END
$prm$;
COMMENT ON FUNCTION prm._lock_segments(bigint) IS 'Waits for whoever changes memberships of the programme''s segments, until the end of the transaction.';

CREATE FUNCTION prm._segment_argument(program_id bigint, segment text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  IF NOT EXISTS (SELECT 1 FROM prm.segment s WHERE s.program_id = _segment_argument.program_id AND s.segment = _segment_argument.segment) THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('segment "%s" does not exist', coalesce(_segment_argument.segment, 'NULL')),
      DETAIL = format('The segments of programme %s are %s.', _segment_argument.program_id,
        coalesce((SELECT string_agg(s.segment, ', ' ORDER BY s.segment) FROM prm.segment s WHERE s.program_id = _segment_argument.program_id), 'none')),
      HINT = 'Correct the name, or define it: INSERT INTO prm.segment (segment, label, criteria) VALUES (...).';
  END IF;
  RETURN _segment_argument.segment;
END
$prm$;
COMMENT ON FUNCTION prm._segment_argument(bigint, text) IS 'Returns the segment given. Error 42704 where the programme has no such segment.';

CREATE FUNCTION prm.add_segment_member(segment text, partner_id bigint, reason text DEFAULT NULL, valid_until timestamptz DEFAULT NULL, program_id bigint DEFAULT prm.current_program()) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(add_segment_member.program_id);
  the_segment text := prm._segment_argument(the_program, add_segment_member.segment);
  the_partner bigint := prm._partner_argument(the_program, add_segment_member.partner_id);
BEGIN
  IF add_segment_member.valid_until <= prm.now() THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'the membership would end before it begins',
      DETAIL = format('It would begin now and end at %s.', add_segment_member.valid_until), HINT = 'Give a moment to come, or leave valid_until out for no end.';
  END IF;
  PERFORM prm._lock_segments(the_program);
  IF EXISTS (SELECT 1 FROM prm.segment_member m WHERE m.program_id = the_program AND m.segment = the_segment AND m.partner_id = the_partner AND m.valid @> prm.now() AND m.source = 'manual'
      AND upper(m.valid) IS NOT DISTINCT FROM add_segment_member.valid_until) THEN
    RETURN false;
  END IF;
  PERFORM prm._write_segment_members(the_program, ARRAY[the_segment], ARRAY[the_partner], ARRAY[true], 'manual', add_segment_member.reason, add_segment_member.valid_until, prm.current_actor());
  RETURN true;
END
$prm$;
COMMENT ON FUNCTION prm.add_segment_member(text, bigint, text, timestamptz, bigint) IS
'Puts a partner, or a prospect, into a segment by hand, from now until valid_until (NULL: until further notice), whatever the criteria say. Returns whether anything changed. Errors: 42704 unknown segment or partner, 22023 an end that has passed, 42501.';

CREATE FUNCTION prm.remove_segment_member(segment text, partner_id bigint, program_id bigint DEFAULT prm.current_program()) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(remove_segment_member.program_id);
  the_segment text := prm._segment_argument(the_program, remove_segment_member.segment);
  the_partner bigint := prm._partner_argument(the_program, remove_segment_member.partner_id);
  the_source text;
BEGIN
  PERFORM prm._lock_segments(the_program);
  SELECT m.source INTO the_source FROM prm.segment_member m WHERE m.program_id = the_program AND m.segment = the_segment AND m.partner_id = the_partner AND m.valid @> prm.now();
  IF the_source IS NULL THEN
    RETURN false;
  ELSIF the_source = 'criteria' THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('partner %s is in segment "%s" by its criteria', the_partner, the_segment),
      DETAIL = 'The next refresh_segments() would bring it back.', HINT = format('SELECT * FROM prm.explain_segment(%s, %L) says why; change the criteria.', the_partner, the_segment);
  END IF;
  PERFORM prm._write_segment_members(the_program, ARRAY[the_segment], ARRAY[the_partner], ARRAY[false], 'manual', NULL, NULL, prm.current_actor());
  RETURN true;
END
$prm$;
COMMENT ON FUNCTION prm.remove_segment_member(text, bigint, bigint) IS
'Ends, now, a membership that was set by hand; the history keeps it. Where the criteria take the partner in, the next refresh does so. Returns whether it was a member. Errors: 42704 unknown segment or partner, 55000 a membership by criteria, 42501.';

CREATE FUNCTION prm._condition_parts(condition text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $prm$
#variable_conflict use_column
DECLARE
  the_text text := regexp_replace(prm._condition(_condition_parts.condition)::text, '^strict ', '');
  the_parts text[] := '{}';
  the_part text := '';
  the_depth integer := 0;
  the_token text;
BEGIN
  -- In its canonical form a conjunction stands in brackets; texts and names are quoted, so brackets inside of them are told apart.
  IF left(the_text, 1) <> '(' THEN
    RETURN ARRAY[_condition_parts.condition];
  END IF;
  FOR the_token IN SELECT m[1] FROM regexp_matches(the_text, '"(?:\\.|[^"\\])*"|&&|\|\||[()]|[^"()&|]+|.', 'g') AS m
  LOOP
    IF (the_depth = 0 AND the_part <> '') OR (the_depth = 1 AND the_token = '||') THEN
      -- The brackets ended before the text did, or it is a disjunction.
      RETURN ARRAY[_condition_parts.condition];
    END IF;
    the_depth := the_depth + CASE the_token WHEN '(' THEN 1 WHEN ')' THEN -1 ELSE 0 END;
    IF the_depth = 1 AND the_token = '&&' THEN
      the_parts := the_parts || btrim(the_part);
      the_part := ' ';
    ELSIF NOT (the_depth = 1 AND the_token = '(') AND NOT (the_depth = 0 AND the_token = ')') THEN
      the_part := the_part || the_token;
    END IF;
  END LOOP;
  IF the_parts = '{}' THEN
    RETURN ARRAY[_condition_parts.condition];
  END IF;
  -- Conjunctions of conjunctions stand in brackets of their own.
  RETURN (SELECT array_agg(i.part ORDER BY p.number, i.number) FROM unnest(the_parts || btrim(the_part)) WITH ORDINALITY AS p(part, number)
    CROSS JOIN LATERAL unnest(prm._condition_parts(p.part)) WITH ORDINALITY AS i(part, number));
END
$prm$;
COMMENT ON FUNCTION prm._condition_parts(text) IS 'The comparisons that a condition joins by &&; one part where it joins them otherwise.';

CREATE FUNCTION prm.explain_segment(partner_id bigint, segment text DEFAULT NULL, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.segment_explanation
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(explain_segment.program_id);
  the_partner bigint := prm._partner_argument(the_program, explain_segment.partner_id);
  the_document jsonb := prm.segment_document(the_partner, the_program);
BEGIN
  IF explain_segment.segment IS NOT NULL THEN
    PERFORM prm._segment_argument(the_program, explain_segment.segment);
  END IF;
  RETURN QUERY
    SELECT s.segment, m.source IS NOT NULL, j.matches, m.source, lower(m.valid), c.condition, c.holds, c.found,
      CASE WHEN s.criteria IS NULL THEN CASE WHEN m.source = 'manual' THEN 'set by hand' || coalesce(': ' || m.reason, '') ELSE 'members are set by hand' END
        WHEN NOT s.is_active THEN 'the segment is not active'
        WHEN c.holds IS NULL THEN 'cannot be decided: ' || coalesce('there is no ' || (SELECT string_agg(f.key, ', ' ORDER BY f.key) FROM jsonb_each(c.found) f WHERE f.value = 'null'), 'the kinds of values do not fit')
        WHEN m.source = 'manual' AND NOT j.matches THEN 'set by hand' || coalesce(': ' || m.reason, '')
        WHEN (m.source IS NOT NULL) <> coalesce(j.matches, false) THEN 'the next refresh_segments() will change it' END
    FROM prm.segment s
    LEFT JOIN prm.segment_member m ON m.program_id = the_program AND m.segment = s.segment AND m.partner_id = the_partner AND m.valid @> prm.now()
    CROSS JOIN LATERAL (SELECT CASE WHEN s.criteria IS NOT NULL THEN s.is_active AND coalesce(jsonb_path_match(the_document, prm._condition(s.criteria), '{}', true), false) END AS matches) j
    LEFT JOIN LATERAL (
      SELECT p.number, p.condition, jsonb_path_match(the_document, prm._condition(p.condition), '{}', true) AS holds,
        (SELECT jsonb_object_agg(replace(replace(f.path, '"', ''), '$.', ''), coalesce(jsonb_path_query_first(the_document, ('strict ' || f.path)::jsonpath, '{}', true), 'null'))
          FROM (SELECT DISTINCT m[1] AS path FROM regexp_matches(prm._condition(p.condition)::text, '(\$(?:\."(?:\\.|[^"\\])*")+)', 'g') AS m) f) AS found
      FROM unnest(prm._condition_parts(s.criteria)) WITH ORDINALITY AS p(condition, number)) c ON true
    WHERE s.program_id = the_program AND (explain_segment.segment IS NULL OR s.segment = explain_segment.segment)
    ORDER BY s.position, s.segment, c.number;
END
$prm$;
COMMENT ON FUNCTION prm.explain_segment(bigint, text, bigint) IS
'Why a partner is, or is not, in a segment (NULL: in each): a row for each comparison of its criteria with whether it holds and what was found. Errors: 42704 unknown partner or segment.';

CREATE TYPE prm.my_segment_row AS (segment text, label text, since timestamptz, until timestamptz);
COMMENT ON TYPE prm.my_segment_row IS 'A row of my_segments(): a segment that the partner is in, since when, and until when as far as is known.';

CREATE FUNCTION prm.my_segments(program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.my_segment_row
LANGUAGE plpgsql STABLE ROWS 5 SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(my_segments.program_id);
  the_self bigint := prm._self_argument(the_program, 'my_segments() tells a partner in which segments it is', 'read prm.v_segment_member');
BEGIN
  RETURN QUERY SELECT s.* FROM prm._own_segments(the_self, the_program) s;
END
$prm$;
COMMENT ON FUNCTION prm.my_segments(bigint) IS
'The segments in which the acting partner is at prm.now(), of those that partners may know of (prm.segment.partner_visible). Error 55000 no partner acts.';
