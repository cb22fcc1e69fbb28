-- Installation as a user sees it: code first, model second, what is wrong and how it is mended, and the way out.
\set SHOW_CONTEXT never
SELECT component, version IS NOT NULL AS known, regexp_replace(detail, '[0-9]+', 'N') AS detail FROM prm.version() WHERE component <> 'server';
-- The code alone has no tables; whoever calls it is told what to do.
SELECT count(*) FROM pg_class WHERE relnamespace = 'prm'::regnamespace AND relkind IN ('r', 'v', 'S');
SELECT prm.create_program('Acme Channel', 'blank');
SELECT severity, object, message, fix FROM prm.check();

SELECT prm.install() = (SELECT extversion FROM pg_extension WHERE extname = 'prm') AS installed;
SELECT prm.install() = prm._library_version() AS installed_again;
SELECT severity, object, message, fix FROM prm.check();
SELECT component, version = prm._library_version() AS same FROM prm.version() WHERE component <> 'server';
-- Nothing that holds data belongs to the extension.
SELECT count(*) FROM pg_depend d JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
  WHERE d.deptype = 'e' AND c.relnamespace = 'prm'::regnamespace AND c.relkind <> 'c';

-- Programmes: none, one, several.
SELECT prm.current_program();
SELECT prm.create_program('', 'blank');
SELECT prm.create_program('Acme Channel', 'bazaar');
SELECT prm.create_program('Acme Channel', 'blank', 'dollars');
SELECT prm.create_program('Acme Channel', 'blank', 'USD', 'Mars/Olympus');
SELECT prm.create_program('Acme Channel', 'blank') AS acme \gset
SELECT prm.current_program() = :acme AS the_only_one;
SELECT prm.create_program('acme channel ', 'blank');
SELECT prm.create_program('Second', 'blank', 'EUR', 'Europe/Berlin') AS second \gset
SELECT prm.current_program();
INSERT INTO prm.customer (name) VALUES ('Nobody''s');
SET prm.program_id = :second;
SELECT prm.current_program() = :second AS chosen;
INSERT INTO prm.customer (name) VALUES ('Second''s first') RETURNING program_id = :second AS right_programme;
SELECT prm._check_program(4711);
RESET prm.program_id;
SELECT name, template, currency, time_zone FROM prm.program ORDER BY program_id;

-- What is missing or switched off is found, and install() puts back what it makes.
DROP TRIGGER prm_definition_changed ON prm.program;
ALTER TABLE prm.deal ALTER COLUMN program_id DROP DEFAULT;
ALTER TABLE prm.access_grant DISABLE TRIGGER prm_definition_changed;
ALTER TABLE prm.lead FORCE ROW LEVEL SECURITY;
DROP INDEX prm.customer_plain_name_idx;
UPDATE prm.machine SET is_current = false WHERE program_id = :second AND machine = 'lead';
SELECT severity, replace(object, :'second', 'N') AS object, message, replace(fix, :'second', 'N') AS fix FROM prm.check();
SELECT prm.install() = prm._library_version() AS mended;
ALTER TABLE prm.access_grant ENABLE TRIGGER prm_definition_changed;
ALTER TABLE prm.lead NO FORCE ROW LEVEL SECURITY;
UPDATE prm.machine SET is_current = true WHERE program_id = :second AND machine = 'lead';
SELECT * FROM prm.check();

-- The way out asks twice, and takes nothing that is another's.
SELECT prm.uninstall('yes');
SELECT prm.uninstall(NULL);
CREATE TABLE invoice (program_id bigint, deal_id bigint, FOREIGN KEY (program_id, deal_id) REFERENCES prm.deal);
CREATE VIEW won AS SELECT deal_id, amount FROM prm.deal WHERE state = 'won';
SELECT prm.uninstall('drop all prm data');
SELECT count(*) FROM prm.customer;
DROP VIEW won;
DROP TABLE invoice;
-- What the user added inside the schema goes with it.
CREATE VIEW prm.big_deal AS SELECT * FROM prm.deal WHERE amount > 1000;
SELECT prm.uninstall('drop all prm data') LIKE 'dropped: % tables, % views, % functions' AS gone;
SELECT count(*) FROM pg_class WHERE relnamespace = 'prm'::regnamespace AND relkind IN ('r', 'v', 'S', 'i');
SELECT object, message, fix FROM prm.check();
SELECT prm.install() = prm._library_version() AS installed_afresh;
SELECT prm.uninstall('drop all prm data') ~ '^dropped' AS gone;
DROP EXTENSION prm;
SELECT count(*) FROM pg_proc WHERE pronamespace = 'prm'::regnamespace;
