-- Certificates at their edges: the last day in the programme's zone, terms that end in short months, renewal in its window and out of
-- it, who counts as covered, what is revoked, and people that move. Neighbours of acceptance case CRT-001.
BEGIN;
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL timezone = 'UTC';
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
SET LOCAL prm.clock = '2026-03-01 12:00+00';
SELECT set_config('prm.program_id', prm.create_program('pgTAP certificates published', 'blank', 'USD', 'America/Sao_Paulo')::text, true) AS program \gset
INSERT INTO prm.partner (partner_id, name) SELECT i, 'P' || i FROM generate_series(1, 5) i;
INSERT INTO prm.partner_user (partner_user_id, partner_id, name) SELECT i, 1 + (i - 1) / 4, 'U' || i FROM generate_series(1, 12) i;
INSERT INTO prm.certification (certification, label, valid_months, renewal_days, renew_from) VALUES ('year', 'Year', 12, 90, 'end'), ('month', 'Month', 1, 10, 'day'), ('ever', 'Ever', NULL, 30, 'end');
CREATE FUNCTION pg_temp.certify(the_user bigint, the_certification text, the_day date) RETURNS bigint LANGUAGE sql AS $$
  INSERT INTO prm.certificate (partner_user_id, certification, issued_on) VALUES (the_user, the_certification, the_day) RETURNING certificate_id $$;
CREATE FUNCTION pg_temp.status(the_certificate bigint) RETURNS text LANGUAGE sql AS $$ SELECT format('%s %s', status, days_left) FROM prm.v_certificate WHERE program_id = prm.current_program() AND certificate_id = the_certificate $$;
CREATE FUNCTION pg_temp.counted(the_partner bigint) RETURNS bigint LANGUAGE sql AS $$ SELECT certified FROM prm.v_certification_coverage WHERE program_id = prm.current_program() AND partner_id = the_partner AND certification = 'year' $$;
-- Renews on the day of the clock, tells the days of the new one, and undoes it.
CREATE FUNCTION pg_temp.renewed(the_certificate bigint, the_clock text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  the_before text := current_setting('prm.clock');
  the_id bigint;
  the_answer text;
BEGIN
  BEGIN
    PERFORM set_config('prm.clock', the_clock, true);
    the_id := prm.renew_certificate(the_certificate);
    SELECT format('%s to %s', issued_on, valid_until) || CASE WHEN renews_id IS NULL THEN ', anew' ELSE '' END INTO the_answer FROM prm.certificate WHERE program_id = prm.current_program() AND certificate_id = the_id;
    RAISE EXCEPTION USING ERRCODE = 'XX099', MESSAGE = 'undo';
  EXCEPTION WHEN SQLSTATE 'XX099' THEN
    NULL;
  WHEN OTHERS THEN
    the_answer := SQLSTATE;
  END;
  PERFORM set_config('prm.clock', the_before, true);
  RETURN the_answer;
END $$;

-- ---- terms ----------------------------------------------------------------------------------------------------------
SELECT pg_temp.certify(1, 'year', '2025-03-15') AS year, pg_temp.certify(2, 'year', '2024-02-29') AS leap, pg_temp.certify(3, 'month', '2026-01-31') AS short, pg_temp.certify(4, 'ever', '2020-01-01') AS ever \gset
SELECT results_eq(format($$ SELECT valid_until FROM prm.certificate WHERE program_id = prm.current_program() AND certificate_id = ANY ('{%s,%s,%s,%s}') ORDER BY certificate_id $$, :year, :leap, :short, :ever),
  $$ VALUES ('2026-03-14'::date), ('2025-02-27'), ('2026-02-27'), (NULL) $$, 'twelve months from the 15th end with the 14th; a term that would begin anew on a day that is not there begins on the last one there is');
SELECT is((SELECT is_renewed::text || ' ' || status FROM prm.v_certificate WHERE program_id = :program AND certificate_id = :ever), 'false valid', 'what has no end is valid, and was not renewed');

-- ---- the last day ---------------------------------------------------------------------------------------------------
SET LOCAL prm.clock = '2026-03-15 02:59:59.999999+00';
SELECT is(pg_temp.status(:year), 'expiring 0', 'CRT-001 neighbours: valid through the last moment of the last day in Sao Paulo');
SELECT is(pg_temp.counted(1), 1::bigint, 'and covered');
SET LOCAL prm.clock = '2026-03-15 03:00+00';
SELECT is(pg_temp.status(:year), 'expired -1', 'then it is not');
SELECT is(pg_temp.counted(1), 0::bigint, 'nor covered');
SET LOCAL timezone = 'Asia/Tokyo';
SELECT is(pg_temp.status(:year), 'expired -1', 'the zone of the session does not matter');
SET LOCAL timezone = 'UTC';

-- ---- renewal --------------------------------------------------------------------------------------------------------
SET LOCAL prm.clock = '2026-03-01 12:00+00';
SELECT is(pg_temp.renewed(:year, '2025-12-14 02:59:59+00'), '55000', 'too early on the 91st day before the last one');
SELECT is(pg_temp.renewed(:year, '2025-12-14 03:00+00'), '2025-12-14 to 2027-03-14', 'on the 90th it counts from the old end: nothing is lost by being early');
SELECT is(pg_temp.renewed(:year, '2026-03-14 12:00+00'), '2026-03-14 to 2027-03-14', 'as on the last day');
SELECT is(pg_temp.renewed(:year, '2026-03-15 12:00+00'), '2026-03-15 to 2027-03-14', 'and the day after, when it counts from the day, it comes to the same');
SELECT is(pg_temp.renewed(:year, '2026-03-16 12:00+00'), '2026-03-16 to 2027-03-15', 'later a gap is left');
SELECT is(pg_temp.renewed(:ever, '2026-03-15 12:00+00'), '55000', 'what has no end is not renewed');
SELECT prm.renew_certificate(:year, '2026-03-01') AS next \gset
SELECT is(prm.renew_certificate(:year), :next::bigint, 'renewed again, it is the same renewal');
SELECT is((SELECT count(*) FROM prm.certificate WHERE program_id = :program AND partner_user_id = 1), 2::bigint, 'there is one');
SELECT is(pg_temp.counted(1), 1::bigint, 'two certificates of a person are one person');
SELECT is((SELECT next_lapse_on FROM prm.v_certification_coverage WHERE program_id = :program AND partner_id = 1 AND certification = 'year'), '2027-03-15'::date, 'which is covered until the day after the later end');
SELECT is((SELECT is_renewed FROM prm.v_certificate WHERE program_id = :program AND certificate_id = :year), true, 'the old one is renewed');
SELECT is((SELECT is_renewed FROM prm.v_certificate WHERE program_id = :program AND certificate_id = :next), false, 'the new one is not');
SET LOCAL prm.clock = '2026-03-20 12:00+00';
SELECT is(pg_temp.counted(1), 1::bigint, 'covered without a gap');

-- ---- coverage -------------------------------------------------------------------------------------------------------
SELECT pg_temp.certify(5, 'year', '2026-03-20'), pg_temp.certify(6, 'year', '2026-03-21') \g /dev/null
SELECT is((SELECT format('%s of %s = %s', certified, people, coverage) FROM prm.v_certification_coverage WHERE program_id = :program AND partner_id = 2 AND certification = 'year'), '1 of 4 = 0.2500', 'from the first day on, not before');
UPDATE prm.partner_user SET is_active = false WHERE program_id = :program AND partner_user_id IN (7, 8);
SELECT is((SELECT format('%s of %s = %s', certified, people, coverage) FROM prm.v_certification_coverage WHERE program_id = :program AND partner_id = 2 AND certification = 'year'), '1 of 2 = 0.5000', 'who left is neither people nor certified');
SELECT is((SELECT format('%s of %s = %s', certified, people, coverage) FROM prm.v_certification_coverage WHERE program_id = :program AND partner_id = 5 AND certification = 'year'), '0 of 0 = ', 'nobody of nobody is not known');
UPDATE prm.partner_user SET partner_id = 3 WHERE program_id = :program AND partner_user_id = 5;
SELECT is(ARRAY[pg_temp.counted(2), pg_temp.counted(3)], '{0,1}', 'a certificate goes with its person');

-- ---- revoked --------------------------------------------------------------------------------------------------------
SELECT is(prm.revoke_certificate(:next, 'the exam was not their own', '2026-03-25'), '2026-03-25'::date, 'revoked from a day to come');
SELECT is(ARRAY[pg_temp.status(:next), pg_temp.counted(1)::text], '{"expiring 4",1}', 'until then it ends soon, and the person is covered');
SET LOCAL prm.clock = '2026-03-25 02:59:59+00';
SELECT is(pg_temp.counted(1), 1::bigint, 'until the last moment before');
SET LOCAL prm.clock = '2026-03-25 03:00+00';
SELECT is(pg_temp.counted(1), 0::bigint, 'and not from then on');
SELECT is(pg_temp.renewed(:next, '2026-03-26 12:00+00'), '55000', 'what was revoked is not renewed');
SELECT throws_ok(format('SELECT prm.revoke_certificate(%s, %L)', :next, 'again'), '23505', NULL, 'revoked once');
SELECT throws_ok(format('SELECT prm.revoke_certificate(%s, %L)', :leap, 'late'), '55000', NULL, 'what ended is not revoked');
SELECT throws_ok(format('SELECT prm.revoke_certificate(%s, %L)', :ever, '  '), '22023', NULL, 'nor without a reason');
SELECT is(prm.revoke_certificate(:ever, 'withdrawn'), '2026-03-25'::date, 'what has no end is revoked from today');
SELECT is(pg_temp.status(:ever), 'revoked -1', 'and does not count any more');

SELECT * FROM finish();
ROLLBACK;
