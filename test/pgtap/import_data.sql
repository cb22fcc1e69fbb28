-- The import of real data: the public teaching set "CRM Sales Opportunities", faults included, with exactly its totals.
-- It needs the folder of its four CSV files: psql -v PRM_DATA=folder, or PRM_DATA in the environment; without it, skipped.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
\if :{?PRM_DATA}
\setenv PRM_DATA :PRM_DATA
\endif
\set folder `for d in "$PRM_DATA" "$PRM_DATA/crm_sales_opportunities"; do if test -r "$d/sales_pipeline.csv"; then echo "$d"; break; fi; done`
\setenv PRM_DATA_FOLDER :folder
SELECT :'folder' <> '' AS present \gset
\if :present
SELECT set_config('prm.program_id', prm.create_program('Import of real data')::text, true) AS program \gset
CREATE SCHEMA import_data;
CREATE TABLE import_data.account (account text, sector text, year_established text, revenue text, employees text, office_location text, subsidiary_of text);
CREATE TABLE import_data.product (product text, series text, sales_price text);
CREATE TABLE import_data.team (sales_agent text, manager text, regional_office text);
CREATE TABLE import_data.pipeline (opportunity_id text, sales_agent text, product text, account text, deal_stage text, engage_date text, close_date text, close_value text);
\copy import_data.account FROM PROGRAM 'cat "$PRM_DATA_FOLDER/accounts.csv"' (FORMAT csv, HEADER)
\copy import_data.product FROM PROGRAM 'cat "$PRM_DATA_FOLDER/products.csv"' (FORMAT csv, HEADER)
\copy import_data.team FROM PROGRAM 'cat "$PRM_DATA_FOLDER/sales_teams.csv"' (FORMAT csv, HEADER)
\copy import_data.pipeline FROM PROGRAM 'cat "$PRM_DATA_FOLDER/sales_pipeline.csv"' (FORMAT csv, HEADER)
ANALYZE import_data.pipeline;

CREATE FUNCTION pg_temp.outcomes(kind text, source regclass, mapping jsonb, dry boolean DEFAULT false) RETURNS text LANGUAGE sql AS
  $$SELECT string_agg(concat_ws(' ', outcome, count, message), '; ' ORDER BY outcome) FROM
    (SELECT outcome, message, count(*) FROM prm.import(kind, source, mapping, dry_run => dry) GROUP BY 1, 2) o$$;
\set partners '{"external_ref": "sales_agent", "name": "sales_agent", "region": "regional_office", "attributes.manager": "manager", "state": {"value": "active"}, "joined_on": {"value": "2016-01-01"}}'
\set customers '{"external_ref": "account", "name": "account", "segment": {"column": "sector", "map": {"technolgy": "technology"}}, "country": "office_location", "parent_ref": "subsidiary_of", "attributes.employees": "employees", "attributes.revenue": "revenue", "attributes.established": "year_established"}'
\set products '{"product": "product", "family": "series", "list_price": "sales_price"}'
\set deals '{"external_ref": "opportunity_id", "partner_ref": "sales_agent", "customer_ref": "account", "amount": "close_value", "product": {"column": "product", "map": {"GTXPro": "GTX Pro"}}, "state": {"column": "deal_stage", "map": {"Prospecting": "prospecting", "Engaging": "proposal", "Won": "won", "Lost": "lost"}}, "created_at": {"column": "engage_date", "format": "MM/DD/YYYY"}, "closed_at": {"column": "close_date", "format": "MM/DD/YYYY"}}'

SELECT is(pg_temp.outcomes('partner', 'import_data.team', :'partners'), 'inserted 35', '35 partners');
SELECT is(pg_temp.outcomes('customer', 'import_data.account', :'customers'), 'inserted 85', '85 customers');
SELECT is(pg_temp.outcomes('product', 'import_data.product', :'products'), 'inserted 7', '7 products');
SELECT is((SELECT count(*) FROM prm.customer WHERE program_id = :program AND parent_id IS NOT NULL),
  (SELECT count(*) FROM import_data.account WHERE subsidiary_of <> ''), 'every subsidiary has its parent');
SELECT is_empty($$SELECT a.account FROM import_data.account a JOIN prm.customer c ON c.program_id = prm.current_program() AND c.external_ref = a.account
    LEFT JOIN prm.customer p ON p.program_id = c.program_id AND p.customer_id = c.parent_id WHERE coalesce(p.name, '') <> coalesce(a.subsidiary_of, '')$$, 'the right one');
SELECT is((SELECT count(*) FROM prm.customer WHERE program_id = :program AND segment = 'technolgy'), 0::bigint, 'the mistyped sector was mapped');

-- A product that is spelled in two ways is reported, not split.
SELECT is(pg_temp.outcomes('deal', 'import_data.pipeline', :'deals'::jsonb || '{"product": "product"}', true),
  'inserted 7320; rejected 1480 product "GTXPro" does not exist, did you mean "GTX Pro"?', 'without the map: 1,480 rows are rejected with a hint');
SELECT is((SELECT count(*) FROM prm.deal WHERE program_id = :program) + (SELECT count(*) FROM prm.earning_event WHERE program_id = :program)
  + (SELECT count(*) FROM prm.ledger WHERE program_id = :program), 0::bigint, 'a dry run writes nothing');

SELECT is(pg_temp.outcomes('deal', 'import_data.pipeline', :'deals'), 'inserted 8800', '8,800 deals');
SELECT results_eq($$SELECT state, count(*) FROM prm.deal WHERE program_id = prm.current_program() GROUP BY 1 ORDER BY 1$$,
  $$VALUES ('lost', 2473::bigint), ('proposal', 1589), ('prospecting', 500), ('won', 4238)$$, 'by state');
SELECT is((SELECT sum(amount) FROM prm.deal WHERE program_id = :program AND state = 'won'), 10005534::numeric, 'the sum of what was won');
SELECT is((SELECT count(*) FROM prm.deal WHERE program_id = :program AND customer_id IS NULL), 1425::bigint, 'rows without account');
SELECT is((SELECT count(DISTINCT partner_id) FROM prm.deal WHERE program_id = :program), 30::bigint, '30 partners have deals');
SELECT results_eq($$SELECT p.name FROM prm.partner p WHERE p.program_id = prm.current_program()
    AND NOT EXISTS (SELECT 1 FROM prm.deal d WHERE d.program_id = p.program_id AND d.partner_id = p.partner_id) ORDER BY 1$$,
  $$VALUES ('Carl Lin'), ('Carol Thompson'), ('Elizabeth Anderson'), ('Mei-Mei Johns'), ('Natalya Ivanova')$$, 'five have none');
SELECT is((SELECT count(*) FROM prm.deal WHERE program_id = :program AND product = 'GTX Pro'), 1480::bigint, 'one product, one spelling');
SELECT is((SELECT count(*) FROM import_data.pipeline i JOIN prm.deal d ON d.program_id = :program AND d.external_ref = i.opportunity_id
    JOIN prm.partner p ON p.program_id = d.program_id AND p.partner_id = d.partner_id
    LEFT JOIN prm.customer c ON c.program_id = d.program_id AND c.customer_id = d.customer_id
    WHERE p.name = i.sales_agent AND coalesce(c.name, '') = coalesce(i.account, '') AND d.amount IS NOT DISTINCT FROM i.close_value::numeric
      AND d.closed_at IS NOT DISTINCT FROM to_date(i.close_date, 'MM/DD/YYYY')::timestamp AT TIME ZONE 'UTC'
      AND (i.engage_date IS NULL OR d.created_at = to_date(i.engage_date, 'MM/DD/YYYY')::timestamp AT TIME ZONE 'UTC')), 8800::bigint,
  'every deal is its row: partner, customer, amount and both dates');
SELECT results_eq($$SELECT actor_kind, count(*), count(*) FILTER (WHERE h.at = d.closed_at) FROM prm.state_history h
    JOIN prm.deal d ON d.program_id = h.program_id AND d.deal_id = h.subject_id AND d.state = h.to_state
    WHERE h.program_id = prm.current_program() AND h.machine = 'deal' GROUP BY 1$$, $$VALUES ('import', 8800::bigint, 6711::bigint)$$,
  'the history says imported, at the historical date');
SELECT is((SELECT count(*) FROM prm.outbox WHERE program_id = :program), 0::bigint, 'the past is told to nobody');

-- Commissions accrue for what was won: 5 % up to 10,000, 6 % up to 50,000, 8 % above, on each deal.
SELECT results_eq($$SELECT count(*), sum(amount) FROM prm.earning_event WHERE program_id = prm.current_program() AND kind = 'booked'$$,
  $$VALUES (4238::bigint, 10005534::numeric)$$, 'an earning event for each');
SELECT results_eq($$SELECT count(*), count(DISTINCT earning_event_id), sum(amount) FROM prm.ledger WHERE program_id = prm.current_program()$$,
  $$SELECT count(*), count(*), sum(round(least(v, 10000) * 0.05 + greatest(least(v, 50000) - 10000, 0) * 0.06 + greatest(v - 50000, 0) * 0.08, 2))
    FROM (SELECT close_value::numeric AS v FROM import_data.pipeline WHERE deal_stage = 'Won') w$$, 'a commission on each, by the rule');
SELECT is((SELECT count(*) FROM prm.ledger l JOIN prm.earning_event e ON e.program_id = l.program_id AND e.earning_event_id = l.earning_event_id
    JOIN prm.deal d ON d.program_id = e.program_id AND d.deal_id = e.deal_id
    WHERE l.program_id = :program AND (l.partner_id, l.earned_on) = (d.partner_id, (d.closed_at AT TIME ZONE 'UTC')::date)), 4238::bigint, 'for the partner, on the day of the win');

-- A second run changes nothing.
CREATE TABLE import_data.before AS
  SELECT (SELECT md5(string_agg(d::text || d.xmin, ',' ORDER BY d.deal_id)) FROM prm.deal d WHERE d.program_id = :program) AS deals,
    (SELECT count(*) FROM prm.state_history WHERE program_id = :program) AS history, (SELECT count(*) FROM prm.ledger WHERE program_id = :program) AS entries;
SELECT is(pg_temp.outcomes('partner', 'import_data.team', :'partners'), 'unchanged 35', 'partners again');
SELECT is(pg_temp.outcomes('customer', 'import_data.account', :'customers'), 'unchanged 85', 'customers again');
SELECT is(pg_temp.outcomes('product', 'import_data.product', :'products'), 'unchanged 7', 'products again');
SELECT is(pg_temp.outcomes('deal', 'import_data.pipeline', :'deals'), 'unchanged 8800', 'deals again');
SELECT results_eq($$SELECT (SELECT md5(string_agg(d::text || d.xmin, ',' ORDER BY d.deal_id)) FROM prm.deal d WHERE d.program_id = prm.current_program()),
    (SELECT count(*) FROM prm.state_history WHERE program_id = prm.current_program()), (SELECT count(*) FROM prm.ledger WHERE program_id = prm.current_program())$$,
  'SELECT * FROM import_data.before', 'and no row was touched');
\else
SELECT skip('the real data is not here: give its folder as PRM_DATA', 1);
\endif
SELECT * FROM finish();
ROLLBACK;
