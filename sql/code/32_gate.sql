
-- Gates: reviews that a state asks for.

CREATE FUNCTION prm._check_review(machine text, definition jsonb) RETURNS SETOF text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  RETURN QUERY SELECT format('state "%s": a final state has no review', s.key)
    FROM jsonb_each(_check_review.definition -> 'states') s
    WHERE s.value ? 'review' AND s.value ->> 'type' = 'final' ORDER BY s.key;
END
$prm$;
COMMENT ON FUNCTION prm._check_review(text, jsonb) IS
'What is wrong with the reviews of a machine''s definition of right form, one text per fault with its place.';
