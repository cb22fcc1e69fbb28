-- Import, as a user types it: load a file into any table, say what its columns mean, look at the outcome.
SET client_min_messages = warning;
\set SHOW_CONTEXT never
SELECT prm.install() IS NOT NULL AS installed;
ALTER TABLE prm.program ALTER COLUMN program_id RESTART WITH 701;
SELECT prm.create_program('Import', 'reseller') AS programme;
SET prm.program_id = '701';
ALTER TABLE prm.partner ALTER COLUMN partner_id RESTART WITH 7001;
ALTER TABLE prm.customer ALTER COLUMN customer_id RESTART WITH 7001;
ALTER TABLE prm.deal ALTER COLUMN deal_id RESTART WITH 7001;
CREATE TABLE crm_partner (rep text, area text);
COPY crm_partner FROM stdin (FORMAT csv);
Ann Alder,East
Bob Birch,West
Ann Alder,North
\.
CREATE TABLE crm_deal (id text, rep text, account text, product text, stage text, closed text, value text);
COPY crm_deal FROM stdin (FORMAT csv);
D1,Ann Alder,,GTX Pro,Won,3/11/2017,4514
D2,Bob Birch,,GTXPro,Won,3/2/2017,50
D3,Bob Birch,,GTX Pro,Lost,2/30/2017,0
D4,Cid Cedar,,GTX Pro,Engaging,,
D5,Bob Birch,,,Prospecting,,-5
D6,Ann Alder,Nobody,,Dreaming,,NaN
\.
INSERT INTO prm.product (product, label, family) VALUES ('GTX Pro', 'GTX Pro', 'GTX');

SELECT * FROM prm.import('partner', 'crm_partner', '{"external_ref": "rep", "name": "rep", "region": "area", "state": {"value": "active"}}');
\set deals '{"external_ref": "id", "partner_ref": "rep", "customer_ref": "account", "product": "product", "amount": "value", "state": {"column": "stage", "map": {"Won": "won", "Lost": "lost", "Engaging": "proposal", "Prospecting": "prospecting"}}, "closed_at": {"column": "closed", "format": "MM/DD/YYYY"}}'

-- First without writing anything.
SELECT * FROM prm.import('deal', 'crm_deal', :'deals', dry_run => true) ORDER BY source_row;
SELECT count(*) FROM prm.deal WHERE program_id = 701;

-- The product's other spelling is mapped, the file is mended, and what is good goes in.
\set mended '{"product": {"column": "product", "map": {"GTXPro": "GTX Pro"}}}'
SELECT * FROM prm.import('deal', 'crm_deal', :'deals'::jsonb || :'mended') ORDER BY source_row;
UPDATE crm_deal SET closed = '2/28/2017' WHERE id = 'D3';
UPDATE crm_deal SET rep = 'Ann Alder' WHERE id = 'D4';
SELECT outcome, count(*), count(id) AS with_id FROM prm.import('deal', 'crm_deal', :'deals'::jsonb || :'mended') GROUP BY 1 ORDER BY 1;
SELECT external_ref, name, partner, product, state, amount, currency, closed_at AT TIME ZONE 'UTC' AS closed_at FROM prm.v_deal WHERE program_id = 701 ORDER BY 1;
SELECT actor_kind, to_state, count(*) FROM prm.state_history WHERE program_id = 701 AND machine = 'deal' GROUP BY 1, 2 ORDER BY 1, 2;
SELECT d.external_ref, l.amount, l.earned_on FROM prm.ledger l
  JOIN prm.earning_event e ON e.program_id = l.program_id AND e.earning_event_id = l.earning_event_id
  JOIN prm.deal d ON d.program_id = e.program_id AND d.deal_id = e.deal_id WHERE l.program_id = 701 ORDER BY 1;

-- A mapping that makes no sense is refused before anything is read.
SELECT * FROM prm.import('ship', 'crm_deal', '{}');
SELECT * FROM prm.import('deal', 'crm_deal', '{"name": "id"}');
SELECT * FROM prm.import('deal', 'crm_deal', '{"external_ref": "id", "colour": "value"}');
SELECT * FROM prm.import('deal', 'crm_deal', '{"external_ref": "id", "amount": "price"}');
SELECT * FROM prm.import('deal', 'crm_deal', '{"external_ref": "id", "amount": {"column": "value", "format": "999"}}');
SELECT * FROM prm.import('deal', 'crm_deal', '{"external_ref": "id", "closed_at": {"column": "closed", "format": "month"}}');
SELECT * FROM prm.import('deal', 'crm_deal', '{"external_ref": "id", "amount": {"source": "value"}}');
SELECT * FROM prm.import('deal', 'crm_deal', '{"external_ref": "id"}', '{"size": 5}');
SELECT * FROM prm.import('customer', 'crm_deal', '{"external_ref": "id"}');
SELECT * FROM prm.import('deal', 'prm.deal_pkey', '{"external_ref": "id"}');
SELECT * FROM prm.import('deal', 'no_such_table', '{"external_ref": "id"}');
DROP TABLE crm_partner, crm_deal;
