
-- Market development funds: what a fund holds. Its entries say it (prm.mdf_entry); what time and sales made due and nobody posted
-- yet is computed by _mdf_due(), which is also what posts it. The way of a request stands in 61_mdf_request.sql.

CREATE TYPE prm.mdf_budget AS (fund_id bigint, name text, partner_id bigint, currency text, granted numeric, accrued numeric, limit_amount numeric, budget numeric,
  committed numeric, paid numeric, available numeric, binding text, period date, period_end date, carried_in numeric, carried_out numeric, expired numeric, expiring numeric);
COMMENT ON TYPE prm.mdf_budget IS
'What a fund holds in a period (a year of the fund): granted, accrued and carried_in make the budget, at most limit_amount; less what is committed, paid, carried_out and expired, available is left. binding: limit where the limit says what there is, else budget. expiring: what of available is lost at period_end as things stand.';

CREATE TYPE prm.mdf_posting AS (fund_id bigint, name text, period date, kind text, amount numeric, currency text, reason text);
COMMENT ON TYPE prm.mdf_posting IS 'An entry of a fund that is due: grant, accrual, carry_out, carry_in or expiry. amount is signed, as in mdf_entry.';

CREATE FUNCTION prm._mdf_year(year_start date, on_date date) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $prm$
  SELECT greatest(0, y.years - CASE WHEN (_mdf_year.year_start + make_interval(years => y.years))::date > _mdf_year.on_date THEN 1 ELSE 0 END)
  FROM (SELECT (extract(year FROM _mdf_year.on_date) - extract(year FROM _mdf_year.year_start))::integer AS years) y
$prm$;
COMMENT ON FUNCTION prm._mdf_year(date, date) IS 'How many years of a fund are over on a day; 0 in its first year and before it.';

CREATE FUNCTION prm._mdf_period(year_start date, years integer) RETURNS date
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $prm$
  SELECT (_mdf_period.year_start + make_interval(years => _mdf_period.years))::date
$prm$;
COMMENT ON FUNCTION prm._mdf_period(date, integer) IS 'First day of a year of a fund, counted from 0.';

CREATE FUNCTION prm._mdf_rounding(program_id bigint) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  -- Partners do not read the table of programmes.
  IF has_table_privilege('prm.program', 'SELECT') THEN
    RETURN (SELECT p.rounding FROM prm.program p WHERE p.program_id = _mdf_rounding.program_id);
  END IF;
  RETURN 'half_up';
END
$prm$;
COMMENT ON FUNCTION prm._mdf_rounding(bigint) IS 'How the programme rounds money; half_up for those who may not read it.';

CREATE FUNCTION prm._mdf_carry(carry_over text, carry_share numeric, carry_cap numeric, amount numeric, carried numeric, currency text, rounding text) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $prm$
  SELECT greatest(least(CASE _mdf_carry.carry_over WHEN 'all' THEN _mdf_carry.amount
      WHEN 'share' THEN prm.round_money(_mdf_carry.amount * _mdf_carry.carry_share, _mdf_carry.currency, _mdf_carry.rounding) ELSE 0 END,
    _mdf_carry.carry_cap - _mdf_carry.carried), 0)
$prm$;
COMMENT ON FUNCTION prm._mdf_carry(text, numeric, numeric, numeric, numeric, text, text) IS
'What of an amount that is left at the end of a period goes to the next, where carried went already: all, a share or nothing, at most carry_cap in sum.';

CREATE FUNCTION prm._mdf_percent(value text, benefit text, fund text) RETURNS numeric
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_percent numeric;
BEGIN
  IF _mdf_percent.value ~ '^ *[0-9]{1,3}([.][0-9]{1,6})? *%? *$' THEN
    the_percent := rtrim(_mdf_percent.value, ' %')::numeric;
  END IF;
  IF the_percent > 0 AND the_percent <= 100 THEN
    RETURN trim_scale(the_percent / 100);
  END IF;
  RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('benefit "%s" is no percentage: "%s"', _mdf_percent.benefit, _mdf_percent.value),
    DETAIL = format('Fund "%s" takes it as one, above 0 and up to 100.', _mdf_percent.fund), HINT = 'Give the tier''s benefit a value such as 50.';
END
$prm$;
COMMENT ON FUNCTION prm._mdf_percent(text, text, text) IS 'The value of a benefit as a share: 50 and 50 % are 0.5. Error 22023 where it is none.';

CREATE FUNCTION prm._mdf_tier_accrual(program_id bigint, fund_id bigint, date_from timestamptz, date_to timestamptz) RETURNS numeric
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
  -- At the rate that each partner's tier gave it when it sold.
  SELECT coalesce(sum(x.amount * coalesce(prm._mdf_percent(x.value, x.benefit, x.fund), x.rate)), 0)
  FROM (
    SELECT f.accrual_benefit AS benefit, f.name AS fund, f.accrual_rate AS rate, g.value, sum(i.amount - coalesce(t.refunded, 0)) AS amount
    FROM prm.mdf_fund f
    JOIN prm.earning_event i ON i.program_id = f.program_id AND i.kind = f.accrual_kind AND i.currency = f.currency AND (f.partner_id IS NULL OR i.partner_id = f.partner_id)
      AND i.occurred_at >= _mdf_tier_accrual.date_from AND i.occurred_at < _mdf_tier_accrual.date_to
    LEFT JOIN prm.refund_total t ON t.program_id = i.program_id AND t.earning_event_id = i.earning_event_id
    LEFT JOIN LATERAL (SELECT b.value FROM prm.benefit_grant b
      WHERE b.program_id = i.program_id AND b.partner_id = i.partner_id AND b.benefit = f.accrual_benefit AND b.valid @> i.occurred_at
      -- As entitlement() chooses: the highest of numbers, else main, other ladders, certifications, segments.
      ORDER BY CASE WHEN b.kind IN ('discount', 'mdf_share', 'lead_priority') THEN b.value::numeric END DESC NULLS LAST, b.ladder IS NULL, b.ladder <> 'main', b.ladder, b.certification, b.benefit_grant_id LIMIT 1) g ON true
    WHERE f.program_id = _mdf_tier_accrual.program_id AND f.fund_id = _mdf_tier_accrual.fund_id
    GROUP BY f.accrual_benefit, f.name, f.accrual_rate, g.value) x
$prm$;
COMMENT ON FUNCTION prm._mdf_tier_accrual(bigint, bigint, timestamptz, timestamptz) IS 'What a fund with an accrual_benefit accrues in a span, not rounded: sales at the rate of the tier that the partner held then, else at accrual_rate.';

CREATE FUNCTION prm._mdf_due(program_id bigint, fund_id bigint, on_date date) RETURNS SETOF prm.mdf_posting
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program constant bigint := _mdf_due.program_id;
  the_zone constant text := prm._program_time_zone(the_program);
  the_rounding constant text := prm._mdf_rounding(the_program);
  fund prm.mdf_fund;
  posted record;
  sale record;
  the_last integer;
  the_start date;
  the_room numeric;
  the_grant numeric;
  the_in numeric;
  the_accrual numeric;
  the_left numeric;
  the_out numeric;
  the_expiry numeric;
BEGIN
  FOR fund IN SELECT f.* FROM prm.mdf_fund f WHERE f.program_id = the_program AND (_mdf_due.fund_id IS NULL OR f.fund_id = _mdf_due.fund_id) ORDER BY f.fund_id LOOP
    the_last := prm._mdf_year(fund.year_start, _mdf_due.on_date);
    the_in := 0;
    FOR the_year IN 0 .. the_last LOOP
      the_start := prm._mdf_period(fund.year_start, the_year);
      SELECT coalesce(sum(e.amount), 0) AS total, coalesce(sum(e.amount) FILTER (WHERE e.kind = 'grant' AND e.is_given), 0) AS given,
          coalesce(sum(e.amount) FILTER (WHERE e.kind = 'grant' AND NOT e.is_given), 0) AS granted, coalesce(sum(e.amount) FILTER (WHERE e.kind = 'accrual'), 0) AS accrued,
          coalesce(sum(e.amount) FILTER (WHERE e.kind = 'carry_in'), 0) AS carried_in, -coalesce(sum(e.amount) FILTER (WHERE e.kind = 'carry_out'), 0) AS carried_out,
          -coalesce(sum(e.amount) FILTER (WHERE e.kind = 'expiry'), 0) AS expired
        INTO posted FROM prm.mdf_entry e WHERE e.program_id = the_program AND e.fund_id = fund.fund_id AND e.period = the_start;
      the_left := posted.total + the_in;
      IF the_in <> 0 THEN
        RETURN NEXT ROW(fund.fund_id, fund.name, the_start, 'carry_in', the_in, fund.currency, 'left of the year before')::prm.mdf_posting;
      END IF;
      -- What the terms grant. They may have changed, so the difference to what was posted.
      the_room := fund.limit_amount - posted.given;
      the_grant := greatest(least(CASE WHEN the_year = 0 OR fund.is_renewed THEN fund.granted ELSE 0 END, the_room), 0);
      -- A year that is over and was posted keeps what it was granted.
      IF the_grant <> posted.granted AND (the_year = the_last OR fund.posted_on IS NULL OR fund.posted_on < the_start) THEN
        RETURN NEXT ROW(fund.fund_id, fund.name, the_start, 'grant', the_grant - posted.granted, fund.currency, CASE WHEN posted.granted = 0 THEN 'granted by the terms of the fund' ELSE 'the terms of the fund were changed' END)::prm.mdf_posting;
        the_left := the_left + the_grant - posted.granted;
      ELSE
        the_grant := posted.granted;
      END IF;
      -- Sales that come late still count in the year before this one, less what was refunded of them.
      IF fund.accrual_basis <> 'none' AND the_year >= the_last - 1 THEN
        IF fund.accrual_benefit IS NOT NULL THEN
          the_accrual := prm.round_money(greatest(prm._mdf_tier_accrual(the_program, fund.fund_id, the_start::timestamp AT TIME ZONE the_zone,
            prm._mdf_period(fund.year_start, the_year + 1)::timestamp AT TIME ZONE the_zone), 0), fund.currency, the_rounding);
        ELSE
          SELECT coalesce(sum(s.amount) FILTER (WHERE s.occurred_at >= the_start::timestamp AT TIME ZONE the_zone), 0) AS this_year,
              coalesce(sum(s.amount) FILTER (WHERE s.occurred_at < the_start::timestamp AT TIME ZONE the_zone), 0) AS last_year
            INTO sale
            FROM (SELECT i.occurred_at, i.amount - coalesce(t.refunded, 0) AS amount FROM prm.earning_event i
              LEFT JOIN prm.refund_total t ON t.program_id = i.program_id AND t.earning_event_id = i.earning_event_id
              WHERE i.program_id = the_program AND i.kind = fund.accrual_kind AND i.currency = fund.currency AND (fund.partner_id IS NULL OR i.partner_id = fund.partner_id)
                AND i.occurred_at >= (prm._mdf_period(fund.year_start, the_year - CASE fund.accrual_basis WHEN 'this_year' THEN 0 ELSE 1 END))::timestamp AT TIME ZONE the_zone
                AND i.occurred_at < (prm._mdf_period(fund.year_start, the_year + CASE fund.accrual_basis WHEN 'last_year' THEN 0 ELSE 1 END))::timestamp AT TIME ZONE the_zone) s;
          the_accrual := prm.round_money(fund.accrual_rate * greatest(CASE fund.accrual_basis WHEN 'this_year' THEN sale.this_year WHEN 'last_year' THEN sale.last_year
            ELSE sale.this_year - sale.last_year END, 0), fund.currency, the_rounding);
        END IF;
        the_accrual := greatest(least(the_accrual, the_room - the_grant - posted.carried_in - the_in), 0);
        IF the_accrual <> posted.accrued THEN
          RETURN NEXT ROW(fund.fund_id, fund.name, the_start, 'accrual', the_accrual - posted.accrued, fund.currency,
            format('%s of %s, %s', coalesce('"' || fund.accrual_benefit || '"', trim_scale(fund.accrual_rate * 100) || '%'), fund.accrual_kind, replace(fund.accrual_basis, '_', ' ')))::prm.mdf_posting;
          the_left := the_left + the_accrual - posted.accrued;
        END IF;
      END IF;
      the_in := 0;
      CONTINUE WHEN the_year = the_last OR the_left = 0;
      -- The year is over: what is free goes on or expires, and what is found missing comes back, first of what expired.
      IF the_left > 0 THEN
        the_out := prm._mdf_carry(fund.carry_over, fund.carry_share, fund.carry_cap, the_left, posted.carried_out, fund.currency, the_rounding);
        IF fund.limit_amount IS NOT NULL THEN
          the_out := greatest(least(the_out, fund.limit_amount - CASE WHEN fund.is_renewed THEN fund.granted ELSE 0 END
            - (SELECT coalesce(sum(e.amount) FILTER (WHERE e.is_given OR e.kind = 'carry_in'), 0) FROM prm.mdf_entry e
               WHERE e.program_id = the_program AND e.fund_id = fund.fund_id AND e.period = prm._mdf_period(fund.year_start, the_year + 1))), 0);
        END IF;
        the_expiry := the_left - the_out;
      ELSE
        the_expiry := greatest(the_left, -posted.expired);
        the_out := greatest(the_left - the_expiry, -posted.carried_out);
      END IF;
      IF the_out <> 0 THEN
        RETURN NEXT ROW(fund.fund_id, fund.name, the_start, 'carry_out', -the_out, fund.currency, 'goes to the next year')::prm.mdf_posting;
      END IF;
      IF the_expiry <> 0 THEN
        RETURN NEXT ROW(fund.fund_id, fund.name, the_start, 'expiry', -the_expiry, fund.currency, CASE WHEN the_expiry > 0 THEN 'the year is over' ELSE 'less was left than had expired' END)::prm.mdf_posting;
      END IF;
      the_in := the_out;
    END LOOP;
  END LOOP;
END
$prm$;
COMMENT ON FUNCTION prm._mdf_due(bigint, bigint, date) IS
'The entries that are due for a fund (NULL: all) on a day and not posted: what its terms grant, what it accrued, what goes to the next year or expires. It posts nothing; once posted, they are due no more.';

CREATE FUNCTION prm._post_mdf(program_id bigint, fund_id bigint) RETURNS SETOF prm.mdf_posting
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_today date := (prm.now() AT TIME ZONE prm._program_time_zone(_post_mdf.program_id))::date;
  the_rows prm.mdf_posting[];
BEGIN
  -- Whoever decides changes the fund, so the next one waits and sees it, or fails with 40001.
  UPDATE prm.mdf_fund f SET decisions = f.decisions + 1 WHERE f.program_id = _post_mdf.program_id AND f.fund_id = _post_mdf.fund_id;
  SELECT array_agg(d) INTO the_rows FROM prm._mdf_due(_post_mdf.program_id, _post_mdf.fund_id, the_today) d;
  UPDATE prm.mdf_fund f SET posted_on = the_today WHERE f.program_id = _post_mdf.program_id AND f.fund_id = _post_mdf.fund_id AND f.posted_on IS DISTINCT FROM the_today;
  IF the_rows IS NULL THEN
    RETURN;
  END IF;
  INSERT INTO prm.mdf_entry (program_id, fund_id, partner_id, period, kind, amount, effective_on, reason, posted_by)
    SELECT _post_mdf.program_id, f.fund_id, f.partner_id, d.period, d.kind, d.amount, the_today, d.reason, prm._caller()
    FROM unnest(the_rows) WITH ORDINALITY AS d(fund_id, name, period, kind, amount, currency, reason, place)
    JOIN prm.mdf_fund f ON f.program_id = _post_mdf.program_id AND f.fund_id = d.fund_id ORDER BY d.place;
  RETURN QUERY SELECT r.fund_id, r.name, r.period, r.kind, r.amount, r.currency, r.reason FROM unnest(the_rows) r;
END
$prm$;
COMMENT ON FUNCTION prm._post_mdf(bigint, bigint) IS 'Locks a fund until the end of the transaction and posts what is due. Returns the entries.';

CREATE FUNCTION prm.post_mdf(fund_id bigint DEFAULT NULL, dry_run boolean DEFAULT false, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.mdf_posting
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(post_mdf.program_id);
  fund record;
BEGIN
  PERFORM prm._check_settler();
  PERFORM prm._check_fund(the_program, post_mdf.fund_id, true);
  IF post_mdf.dry_run THEN
    RETURN QUERY SELECT * FROM prm._mdf_due(the_program, post_mdf.fund_id, (prm.now() AT TIME ZONE prm._program_time_zone(the_program))::date);
    RETURN;
  END IF;
  FOR fund IN SELECT f.fund_id FROM prm.mdf_fund f WHERE f.program_id = the_program AND (post_mdf.fund_id IS NULL OR f.fund_id = post_mdf.fund_id) ORDER BY f.fund_id LOOP
    RETURN QUERY SELECT * FROM prm._post_mdf(the_program, fund.fund_id);
  END LOOP;
END
$prm$;
COMMENT ON FUNCTION prm.post_mdf(bigint, boolean, bigint) IS
'Posts what sales and time made due on a fund (NULL: on each): accruals, and at the end of its year what is carried over and what expires. Returns the entries; a second call posts nothing. run_jobs() does it daily, every decision does it first. Errors: 42704 no such fund, 42501 not the owner.';

CREATE FUNCTION prm._check_fund(program_id bigint, fund_id bigint, or_null boolean DEFAULT false) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  IF _check_fund.fund_id IS NULL AND _check_fund.or_null
     OR EXISTS (SELECT 1 FROM prm.mdf_fund f WHERE f.program_id = _check_fund.program_id AND f.fund_id = _check_fund.fund_id) THEN
    RETURN;
  END IF;
  RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('there is no fund %s', coalesce(_check_fund.fund_id::text, 'NULL')),
    DETAIL = format('Programme %s has no such fund that you may see.', _check_fund.program_id), HINT = 'SELECT fund_id, name FROM prm.mdf_fund lists them.';
END
$prm$;
COMMENT ON FUNCTION prm._check_fund(bigint, bigint, boolean) IS 'Refuses (42704) a fund that does not exist; NULL where or_null does not allow it.';

CREATE FUNCTION prm.grant_mdf(fund_id bigint, amount numeric, reason text, program_id bigint DEFAULT prm.current_program()) RETURNS numeric
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(grant_mdf.program_id);
  the_today date := (prm.now() AT TIME ZONE prm._program_time_zone(the_program))::date;
  fund prm.mdf_fund;
  budget prm.mdf_budget;
BEGIN
  PERFORM prm._check_settler();
  PERFORM prm._check_fund(the_program, grant_mdf.fund_id);
  IF coalesce(btrim(grant_mdf.reason), '') = '' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'a grant needs a reason', DETAIL = 'The reason given is empty.',
      HINT = format('SELECT prm.grant_mdf(%s, 1000, ''autumn campaign'').', grant_mdf.fund_id);
  END IF;
  PERFORM prm._post_mdf(the_program, grant_mdf.fund_id);
  SELECT f.* INTO fund FROM prm.mdf_fund f WHERE f.program_id = the_program AND f.fund_id = grant_mdf.fund_id;
  SELECT b.* INTO budget FROM prm._mdf_balance(the_program, fund.fund_id, the_today, NULL, false) b;
  IF grant_mdf.amount IS NULL OR grant_mdf.amount IN ('NaN', 'Infinity', '-Infinity') OR grant_mdf.amount = 0 OR grant_mdf.amount <> prm.round_money(grant_mdf.amount, fund.currency) THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('%s cannot be granted', coalesce(grant_mdf.amount::text, 'NULL')),
      DETAIL = format('A grant is an amount of %s in its smallest unit; below zero it takes back what is free.', fund.currency), HINT = format('SELECT prm.grant_mdf(%s, 1000, ''reason'').', fund.fund_id);
  END IF;
  IF grant_mdf.amount < 0 AND budget.available + grant_mdf.amount < 0 OR grant_mdf.amount > 0 AND budget.granted + budget.carried_in + grant_mdf.amount > fund.limit_amount THEN
    RAISE EXCEPTION USING ERRCODE = '23514', MESSAGE = format('%s %s cannot be granted', grant_mdf.amount, fund.currency),
      DETAIL = format('Fund "%s" was granted %s, has %s left, and its limit is %s.', fund.name, budget.granted + budget.carried_in, budget.available, coalesce(fund.limit_amount::text, 'none')),
      HINT = 'Take back what is free only, or raise limit_amount first.', SCHEMA = 'prm', TABLE = 'mdf_entry', COLUMN = 'amount';
  END IF;
  INSERT INTO prm.mdf_entry (program_id, fund_id, partner_id, period, kind, amount, is_given, effective_on, reason, posted_by)
    VALUES (the_program, fund.fund_id, fund.partner_id, budget.period, 'grant', grant_mdf.amount, true, the_today, btrim(grant_mdf.reason), prm._caller());
  -- Less can be accrued below the limit now.
  PERFORM prm._post_mdf(the_program, fund.fund_id);
  RETURN (SELECT b.available FROM prm._mdf_balance(the_program, fund.fund_id, the_today, NULL, false) b);
END
$prm$;
COMMENT ON FUNCTION prm.grant_mdf(bigint, numeric, text, bigint) IS
'Adds an amount to a fund, in the year that runs, or below zero takes back what is free. Returns what is available then. Errors: 22023 amount or reason, 23514 above the limit or more than is free, 42704 no such fund, 42501 not the owner.';

CREATE FUNCTION prm._mdf_balance(program_id bigint, fund_id bigint, on_date date, known_at timestamptz, with_due boolean) RETURNS SETOF prm.mdf_budget
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
  SELECT f.fund_id, f.name, f.partner_id, f.currency, s.granted, s.accrued, f.limit_amount, s.granted + s.accrued + s.carried_in, s.committed, s.paid, s.available,
    CASE WHEN s.granted + s.accrued + s.carried_in >= f.limit_amount THEN 'limit' ELSE 'budget' END,
    y.period, prm._mdf_period(f.year_start, y.years + 1) - 1, s.carried_in, s.carried_out, s.expired,
    greatest(s.available - prm._mdf_carry(f.carry_over, f.carry_share, f.carry_cap, greatest(s.available, 0), s.carried_out, f.currency, prm._mdf_rounding(_mdf_balance.program_id)), 0)
  FROM prm.mdf_fund f
  CROSS JOIN LATERAL (SELECT o.years, prm._mdf_period(f.year_start, o.years) AS period FROM (SELECT prm._mdf_year(f.year_start, _mdf_balance.on_date) AS years) o) y
  CROSS JOIN LATERAL (
    SELECT coalesce(sum(e.amount) FILTER (WHERE e.kind = 'grant'), 0) AS granted, coalesce(sum(e.amount) FILTER (WHERE e.kind = 'accrual'), 0) AS accrued,
      coalesce(sum(e.amount) FILTER (WHERE e.kind = 'carry_in'), 0) AS carried_in, coalesce(-sum(e.amount) FILTER (WHERE e.kind = 'carry_out'), 0) AS carried_out,
      coalesce(-sum(e.amount) FILTER (WHERE e.kind = 'expiry'), 0) AS expired, coalesce(-sum(e.amount) FILTER (WHERE e.kind IN ('commitment', 'release')), 0) AS committed,
      coalesce(-sum(e.amount) FILTER (WHERE e.kind = 'reimbursement'), 0) AS paid, coalesce(sum(e.amount), 0) AS available
    FROM (SELECT i.kind, i.amount FROM prm.mdf_entry i WHERE i.program_id = _mdf_balance.program_id AND i.fund_id = f.fund_id AND i.period = y.period
        AND (_mdf_balance.known_at IS NULL OR i.recorded_at <= _mdf_balance.known_at)
      UNION ALL
      SELECT d.kind, d.amount FROM prm._mdf_due(_mdf_balance.program_id, f.fund_id, _mdf_balance.on_date) d WHERE _mdf_balance.with_due AND d.period = y.period) e) s
  WHERE f.program_id = _mdf_balance.program_id AND (_mdf_balance.fund_id IS NULL OR f.fund_id = _mdf_balance.fund_id)
  ORDER BY f.fund_id
$prm$;
COMMENT ON FUNCTION prm._mdf_balance(bigint, bigint, date, timestamptz, boolean) IS
'What funds (NULL: all) hold in the year that contains a day: the sum of the entries recorded by known_at (NULL: all), with_due also of those that are due.';

CREATE FUNCTION prm.mdf_budget(fund_id bigint DEFAULT NULL, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.mdf_budget
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(mdf_budget.program_id);
  the_partner bigint := prm._acting_partner(the_program);
BEGIN
  PERFORM prm._check_fund(the_program, mdf_budget.fund_id, true);
  -- A partner reads its own funds, as they are posted; what a fund for everybody holds is not its business.
  RETURN QUERY
  SELECT b.* FROM prm._mdf_balance(the_program, mdf_budget.fund_id, (prm.now() AT TIME ZONE prm._program_time_zone(the_program))::date, NULL, the_partner IS NULL) b
  WHERE the_partner IS NULL OR b.partner_id = the_partner;
END
$prm$;
COMMENT ON FUNCTION prm.mdf_budget(bigint, bigint) IS
'What a fund (NULL: each) holds and has left in the year that runs, with what sales and time made due since it was last posted. A partner sees its own funds, as posted. Error 42704 no such fund.';

CREATE FUNCTION prm.mdf_budget_as_of(known_at timestamptz, fund_id bigint DEFAULT NULL, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.mdf_budget
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(mdf_budget_as_of.program_id);
  the_partner bigint := prm._acting_partner(the_program);
  the_day date;
BEGIN
  IF mdf_budget_as_of.known_at IS NULL OR NOT isfinite(mdf_budget_as_of.known_at) THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'mdf_budget_as_of needs a moment', DETAIL = format('known_at is %s.', coalesce(mdf_budget_as_of.known_at::text, 'NULL')),
      HINT = 'SELECT * FROM prm.mdf_budget_as_of(''2026-01-31 23:59:59+00'').';
  END IF;
  PERFORM prm._check_fund(the_program, mdf_budget_as_of.fund_id, true);
  the_day := (mdf_budget_as_of.known_at AT TIME ZONE prm._program_time_zone(the_program))::date;
  RETURN QUERY
  SELECT b.* FROM prm._mdf_balance(the_program, mdf_budget_as_of.fund_id, the_day, mdf_budget_as_of.known_at, false) b WHERE the_partner IS NULL OR b.partner_id = the_partner;
END
$prm$;
COMMENT ON FUNCTION prm.mdf_budget_as_of(timestamptz, bigint, bigint) IS
'What funds held as it was known at a moment of the wall clock: the entries that were recorded by then, of the year that ran then. Errors: 22023 no moment, 42704 no such fund.';

CREATE FUNCTION prm._audit_mdf(program_id bigint) RETURNS SETOF prm.ledger_violation
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
  SELECT 'fund_request', r.entry_id, format('fund request %s is %s with %s approved and %s paid; its entries say %s committed and %s paid', r.request_id, r.state,
    coalesce(r.approved, 0), coalesce(r.paid, 0), coalesce(e.committed, 0), coalesce(e.paid, 0))
  FROM prm.mdf_request r
  LEFT JOIN (SELECT i.request_id, -sum(i.amount) FILTER (WHERE i.kind IN ('commitment', 'release')) AS committed, -sum(i.amount) FILTER (WHERE i.kind = 'reimbursement') AS paid
    FROM prm.mdf_entry i WHERE i.program_id = _audit_mdf.program_id AND i.request_id IS NOT NULL GROUP BY i.request_id) e ON e.request_id = r.request_id
  WHERE r.program_id = _audit_mdf.program_id
    AND (coalesce(e.committed, 0) <> CASE WHEN r.state IN ('reimbursed', 'rejected', 'rejected_late', 'expired') THEN 0 ELSE coalesce(r.approved, 0) END
      OR coalesce(e.paid, 0) <> CASE WHEN r.state = 'reimbursed' THEN coalesce(r.paid, 0) ELSE 0 END)
  UNION ALL
  SELECT 'fund_ledger', l.entry_id, format('fund request %s was paid %s; the ledger says %s', r.request_id, r.paid, coalesce(l.amount::text, 'nothing'))
  FROM prm.mdf_request r LEFT JOIN prm.ledger l ON l.program_id = r.program_id AND l.entry_id = r.entry_id
  WHERE r.program_id = _audit_mdf.program_id AND r.state = 'reimbursed' AND coalesce(l.amount, 0) <> r.paid
  UNION ALL
  SELECT 'fund_carry', NULL, format('fund %s carried %s out of the year from %s and %s into the next', o.fund_id, o.carried_out, o.period, o.carried_in)
  FROM (SELECT f.fund_id, y.period, y.carried_out, coalesce((SELECT sum(n.amount) FROM prm.mdf_entry n WHERE n.program_id = _audit_mdf.program_id AND n.fund_id = f.fund_id AND n.kind = 'carry_in'
      AND n.period = prm._mdf_period(f.year_start, prm._mdf_year(f.year_start, y.period) + 1)), 0) AS carried_in
    FROM prm.mdf_fund f
    CROSS JOIN LATERAL (SELECT e.period, -coalesce(sum(e.amount) FILTER (WHERE e.kind = 'carry_out'), 0) AS carried_out FROM prm.mdf_entry e
      WHERE e.program_id = f.program_id AND e.fund_id = f.fund_id GROUP BY e.period) y
    WHERE f.program_id = _audit_mdf.program_id) o
  WHERE o.carried_out <> o.carried_in
$prm$;
COMMENT ON FUNCTION prm._audit_mdf(bigint) IS
'What does not hold of the funds: entries against requests (fund_request), the ledger against requests (fund_ledger), what went out of a year against what came into the next (fund_carry). Empty = sound.';
