
-- Subscriptions: each period that has begun becomes an earning event, once.

CREATE FUNCTION prm._period_months(period_kind text) RETURNS integer
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS
$prm$ SELECT CASE _period_months.period_kind WHEN 'month' THEN 1 WHEN 'quarter' THEN 3 WHEN 'year' THEN 12 END $prm$;
COMMENT ON FUNCTION prm._period_months(text) IS 'Months of a period of a subscription: month 1, quarter 3, year 12; NULL for another word.';

CREATE FUNCTION prm._subscription_period(started_on date, period_kind text, on_date date) RETURNS date
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $prm$
  -- Counted from the first day, so that a subscription of the 31st does not slip to the 28th.
  SELECT max(d.first_day) FROM (
    SELECT (_subscription_period.started_on + make_interval(months => k.number * prm._period_months(_subscription_period.period_kind)))::date AS first_day
    FROM generate_series(0, 1 + (extract(year FROM age(_subscription_period.on_date, _subscription_period.started_on))::integer * 12
      + extract(month FROM age(_subscription_period.on_date, _subscription_period.started_on))::integer) / prm._period_months(_subscription_period.period_kind)) AS k(number)) d
  WHERE d.first_day <= greatest(_subscription_period.on_date, _subscription_period.started_on)
$prm$;
COMMENT ON FUNCTION prm._subscription_period(date, text, date) IS 'First day of the period of a subscription that contains a day; the first period for earlier days.';

CREATE FUNCTION prm._work_subscriptions(program_id bigint, batch integer) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_zone constant text := prm._program_time_zone(_work_subscriptions.program_id);
  the_day constant date := (prm.now() AT TIME ZONE the_zone)::date;
  the_ids text[];
BEGIN
  SELECT array_agg(d.subscription_id) INTO the_ids FROM (
    SELECT s.subscription_id FROM prm.subscription s
    WHERE s.program_id = _work_subscriptions.program_id AND s.state = 'active' AND s.next_period_on <= the_day
    ORDER BY s.next_period_on, s.subscription_id LIMIT _work_subscriptions.batch FOR UPDATE SKIP LOCKED) d;
  IF the_ids IS NULL THEN
    RETURN 0;
  END IF;
  -- All periods that are due, also those of the days on which no job ran. The name of the event comes from the period, so it is
  -- booked once however often this runs.
  INSERT INTO prm.earning_event (program_id, kind, deal_id, partner_id, customer_id, product, product_family, subscription_id, service_period, quantity,
      amount, list_amount, cost, currency, legal_entity, occurred_at, external_ref)
    SELECT s.program_id, s.earn_kind, s.deal_id, s.partner_id, s.customer_id, s.product, p.family, s.subscription_id,
      daterange(d.first_day, least(d.next_day, s.ended_on + 1)), s.quantity, s.amount, s.list_amount, s.cost, s.currency, s.legal_entity,
      d.first_day::timestamp AT TIME ZONE the_zone, concat_ws('/', 'subscription', s.subscription_id, d.first_day)
    FROM (SELECT * FROM prm.subscription t WHERE t.program_id = _work_subscriptions.program_id AND t.subscription_id = ANY (the_ids) OFFSET 0) s
    LEFT JOIN prm.product p ON p.program_id = s.program_id AND p.product = s.product
    CROSS JOIN LATERAL (
      SELECT (s.started_on + make_interval(months => k.number * prm._period_months(s.period_kind)))::date AS first_day,
        (s.started_on + make_interval(months => (k.number + 1) * prm._period_months(s.period_kind)))::date AS next_day
      FROM generate_series(0, 2 + (the_day - s.started_on) / (28 * prm._period_months(s.period_kind))) AS k(number)) d
    WHERE d.first_day >= s.next_period_on AND d.first_day <= the_day AND (s.ended_on IS NULL OR d.first_day <= s.ended_on)
    ORDER BY d.first_day, s.subscription_id
    ON CONFLICT (program_id, external_ref) DO NOTHING;
  UPDATE prm.subscription s SET next_period_on = d.next_day,
      state = CASE WHEN d.next_day > s.ended_on THEN 'ended' ELSE s.state END
    FROM (SELECT t.subscription_id, (SELECT min(n.first_day) FROM (
            SELECT (t.started_on + make_interval(months => k.number * prm._period_months(t.period_kind)))::date AS first_day
            FROM generate_series(0, 2 + (the_day - t.started_on) / (28 * prm._period_months(t.period_kind))) AS k(number)) n WHERE n.first_day > the_day) AS next_day
          FROM prm.subscription t WHERE t.program_id = _work_subscriptions.program_id AND t.subscription_id = ANY (the_ids) OFFSET 0) d
    WHERE s.program_id = _work_subscriptions.program_id AND s.subscription_id = d.subscription_id;
  RETURN cardinality(the_ids);
END
$prm$;
COMMENT ON FUNCTION prm._work_subscriptions(bigint, integer) IS 'Books the periods that have begun of up to batch subscriptions; returns how many subscriptions it did.';
