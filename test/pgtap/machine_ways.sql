-- Every way to plant, move and delete a row leaves the history that single statements leave: on a table of the model, and on
-- attached tables with number and uuid keys, plain and partitioned.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();

SELECT set_config('prm.program_id', prm.create_program('Ways in', 'blank')::text, true) AS p \gset
SELECT count(prm.define_machine(m, '{"initial": "new", "states": {"new": {"on": {"heat": {"target": "hot"}, "drop": {"target": "lost"}}},
  "hot": {"on": {"end": {"target": "done"}}}, "done": {"type": "final"}, "lost": {"type": "final"}}}'))
  FROM unnest(ARRAY['lead', 'ways_plain', 'ways_parted', 'ways_uuid']) m;
CREATE TABLE public.ways_plain (program_id bigint NOT NULL DEFAULT prm.current_program(), id bigint, state text NOT NULL DEFAULT 'new', note text, PRIMARY KEY (program_id, id));
CREATE TABLE public.ways_parted (program_id bigint NOT NULL DEFAULT prm.current_program(), id integer, state varchar(20) NOT NULL DEFAULT 'new', note text, PRIMARY KEY (program_id, id))
  PARTITION BY LIST (program_id);
CREATE TABLE public.ways_parted_a PARTITION OF public.ways_parted DEFAULT PARTITION BY RANGE (id);
CREATE TABLE public.ways_parted_1 PARTITION OF public.ways_parted_a DEFAULT;
CREATE TABLE public.ways_uuid (id uuid PRIMARY KEY, state text NOT NULL DEFAULT 'new', note text) PARTITION BY HASH (id);
-- A partition whose columns stand in another order.
CREATE TABLE public.ways_uuid_0 (gone integer, note text, state text NOT NULL DEFAULT 'new', id uuid PRIMARY KEY);
ALTER TABLE public.ways_uuid_0 DROP COLUMN gone;
ALTER TABLE public.ways_uuid ATTACH PARTITION public.ways_uuid_0 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE public.ways_uuid_1 PARTITION OF public.ways_uuid FOR VALUES WITH (MODULUS 2, REMAINDER 1);
SELECT is(prm.attach_machine('ways_plain', 'ways_plain', program_column => 'program_id'), 0::bigint, 'attached: a plain table with a programme column');
SELECT is(prm.attach_machine('ways_parted', 'ways_parted', program_column => 'program_id'), 0::bigint, 'attached: partitions of partitions, integer keys');
SELECT is(prm.attach_machine('ways_uuid', 'ways_uuid'), 0::bigint, 'attached: uuid keys without a programme column');
SELECT is_empty('SELECT * FROM prm.check()', 'check() finds nothing');

-- The tables, their key columns, and a key and the partition for it by number.
CREATE TEMP TABLE place (machine text, relation regclass, id text);
INSERT INTO place VALUES ('lead', 'prm.lead', 'lead_id'), ('ways_plain', 'ways_plain', 'id'), ('ways_parted', 'ways_parted', 'id'), ('ways_uuid', 'ways_uuid', 'id');
CREATE FUNCTION pg_temp.key(the_machine text, n integer) RETURNS text LANGUAGE sql AS $$
  SELECT CASE the_machine WHEN 'ways_uuid' THEN md5('way ' || n)::uuid::text ELSE (9200000 + n)::text END $$;
CREATE FUNCTION pg_temp.part(the_machine text, n integer) RETURNS text LANGUAGE sql AS $$
  SELECT CASE the_machine WHEN 'lead' THEN 'prm.lead' WHEN 'ways_plain' THEN 'ways_plain' WHEN 'ways_parted' THEN 'ways_parted_1'
    ELSE 'ways_uuid_' || CASE WHEN satisfies_hash_partition('ways_uuid'::regclass, 2, 0, pg_temp.key('ways_uuid', n)::uuid) THEN 0 ELSE 1 END END $$;
CREATE FUNCTION pg_temp.run(statement text, the_machine text, n integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE replace(replace(replace(replace(replace(replace(statement, '{t}', (SELECT relation::text FROM place WHERE machine = the_machine)),
    '{v}', 'view_' || the_machine), '{id}', (SELECT id FROM place WHERE machine = the_machine)), '{k}', quote_literal(pg_temp.key(the_machine, n))),
    '{p}', pg_temp.part(the_machine, n)), '{m}', the_machine);
END $$;
CREATE FUNCTION pg_temp.story(the_machine text, n integer) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(concat_ws('/', h.machine_version, coalesce(h.event, '-'), coalesce(h.from_state, '-'), h.to_state, h.actor, h.actor_kind), ' > ' ORDER BY h.history_id)
  FROM prm.state_history h WHERE h.program_id = prm.current_program() AND h.machine = the_machine
    AND CASE the_machine WHEN 'ways_uuid' THEN h.subject_uuid::text ELSE h.subject_id::text END = pg_temp.key(the_machine, n) $$;
SELECT count(pg_temp.run('CREATE VIEW public.{v} AS SELECT * FROM {t}', machine, 0)) FROM place;
CREATE FUNCTION pg_temp.move(the_machine text, n integer, wanted text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  the_cursor refcursor;
  the_row record;
BEGIN
  OPEN the_cursor FOR EXECUTE format('SELECT * FROM %s WHERE %I = %L FOR UPDATE', pg_temp.part(the_machine, n),
    (SELECT id FROM place WHERE machine = the_machine), pg_temp.key(the_machine, n));
  FETCH the_cursor INTO the_row;
  EXECUTE format('UPDATE %s SET state = %L WHERE CURRENT OF %s', pg_temp.part(the_machine, n), wanted, quote_ident(the_cursor::text));
  CLOSE the_cursor;
END $$;

-- One by one: what all the others are compared with.
SELECT count(pg_temp.run('INSERT INTO {t} ({id}) VALUES ({k})', machine, 1)) FROM place;
SELECT count(pg_temp.run('UPDATE {t} SET state = ''hot'' WHERE {id} = {k}', machine, 1)) FROM place;
SELECT count(pg_temp.run('UPDATE {t} SET state = ''done'' WHERE {id} = {k}', machine, 1)) FROM place;
SELECT is(pg_temp.story(machine, 1), format('%2$s/-/-/new/%1$s/vendor > %2$s/heat/new/hot/%1$s/vendor > %2$s/end/hot/done/%1$s/vendor', current_user, prm._machine_version(machine, :p)), machine || ': one by one') FROM place;

CREATE TEMP TABLE way (n integer PRIMARY KEY, name text, planting text, moving text);
INSERT INTO way VALUES
  (10, 'INSERT ... SELECT', 'INSERT INTO {t} ({id}, state) SELECT {k}, ''new''', NULL),
  (11, 'ON CONFLICT DO NOTHING', 'INSERT INTO {t} ({id}) VALUES ({k}) ON CONFLICT DO NOTHING', NULL),
  (12, 'MERGE that inserts', 'MERGE INTO {t} t USING (SELECT {k} AS key) s ON t.{id}::text = s.key WHEN NOT MATCHED THEN INSERT ({id}) VALUES ({k})', NULL),
  (13, 'INSERT through a view', 'INSERT INTO {v} ({id}) VALUES ({k})', NULL),
  (14, 'INSERT in a writing CTE', 'WITH w AS (INSERT INTO {t} ({id}) VALUES ({k}) RETURNING 1) SELECT count(*) FROM w', NULL),
  (15, 'INSERT into the partition', 'INSERT INTO {p} ({id}) VALUES ({k})', NULL),
  (16, 'UPDATE of several columns', NULL, 'UPDATE {t} SET (state) = ROW(''hot'') WHERE {id} = {k}'),
  (17, 'UPDATE FROM', NULL, 'UPDATE {t} t SET state = s.state FROM (VALUES ({k}, ''hot'')) s(key, state) WHERE t.{id}::text = s.key'),
  (19, 'MERGE that updates', NULL, 'MERGE INTO {t} t USING (SELECT {k} AS key) s ON t.{id}::text = s.key WHEN MATCHED THEN UPDATE SET state = ''hot'' WHEN NOT MATCHED THEN INSERT ({id}) VALUES ({k})'),
  (20, 'UPDATE through a view', NULL, 'UPDATE {v} SET state = ''hot'' WHERE {id} = {k}'),
  (21, 'UPDATE in a writing CTE', NULL, 'WITH w AS (UPDATE {t} SET state = ''hot'' WHERE {id} = {k} RETURNING 1) SELECT count(*) FROM w'),
  (22, 'UPDATE of the partition', NULL, 'UPDATE {p} SET state = ''hot'' WHERE {id} = {k}'),
  (23, 'WHERE CURRENT OF', NULL, 'SELECT pg_temp.move(''{m}'', 23, ''hot'')'),
  (24, 'UPDATE with a condition on the state', NULL, 'UPDATE {t} SET state = ''hot'' WHERE state = ''new'' AND {id} = {k}');
INSERT INTO way SELECT 18, 'ON CONFLICT DO UPDATE', NULL,
  'INSERT INTO {t} ({id}) VALUES ({k}) ON CONFLICT ' || '{c}' || ' DO UPDATE SET state = ''hot''';
SELECT count(pg_temp.run(replace(coalesce(w.planting, 'INSERT INTO {t} ({id}) VALUES ({k})'), '{c}', ''), p.machine, w.n)) FROM way w, place p;
SELECT count(pg_temp.run(replace(coalesce(w.moving, 'UPDATE {t} SET state = ''hot'' WHERE {id} = {k}'), '{c}', CASE p.machine WHEN 'ways_uuid' THEN '(id)' ELSE '(program_id, {id})' END), p.machine, w.n))
  FROM way w, place p;
SELECT count(pg_temp.run('UPDATE {t} SET state = ''done'' WHERE state = ''hot''', machine, 0)) FROM place;
SELECT is(pg_temp.story(p.machine, w.n), pg_temp.story(p.machine, 1), format('%s: %s', p.machine, w.name)) FROM way w, place p ORDER BY w.n, p.machine;

-- COPY and fire().
COPY prm.lead (lead_id) FROM stdin;
9200030
\.
COPY public.ways_plain (id) FROM stdin;
9200030
\.
COPY public.ways_parted (id) FROM stdin;
9200030
\.
CREATE TEMP TABLE stage (id uuid);
INSERT INTO stage VALUES (pg_temp.key('ways_uuid', 30)::uuid);
COPY public.ways_uuid (id) FROM stdin;
3f0b4ac4-0000-4000-8000-000000000030
\.
SELECT is((SELECT count(*) FROM prm.state_history WHERE subject_uuid = '3f0b4ac4-0000-4000-8000-000000000030'), 1::bigint, 'ways_uuid: COPY');
INSERT INTO public.ways_uuid (id) SELECT id FROM stage;
SELECT is(prm.fire(machine, 9200030, 'heat'), 'hot', machine || ': fire') FROM place WHERE machine <> 'ways_uuid';
SELECT is(prm.fire_uuid('ways_uuid', pg_temp.key('ways_uuid', 30)::uuid, 'heat'), 'hot', 'ways_uuid: fire');
SELECT is(prm.fire(machine, 9200030, 'end'), 'done') FROM place WHERE machine <> 'ways_uuid';
SELECT is(prm.fire_uuid('ways_uuid', pg_temp.key('ways_uuid', 30)::uuid, 'end'), 'done');
SELECT is(pg_temp.story(machine, 30), pg_temp.story(machine, 1), machine || ': COPY, fire') FROM place;
SELECT throws_ok($$SELECT prm.fire('ways_uuid', 1, 'heat')$$, '22023', 'the keys of machine "ways_uuid" are uuids');
SELECT throws_ok($$SELECT prm.fire_uuid('lead', gen_random_uuid(), 'heat')$$, '22023', 'the keys of machine "lead" are numbers');
SELECT throws_ok($$SELECT * FROM prm.allowed_events_uuid('ways_uuid', '3f0b4ac4-0000-4000-8000-000000000099')$$, '42704');

-- What is illegal is so by every way, and leaves nothing.
SELECT count(pg_temp.run('INSERT INTO {t} ({id}) VALUES ({k})', machine, 40)) FROM place;
SELECT throws_ok(format('SELECT pg_temp.run(%L, %L, 40)', s.statement, p.machine), '23514', NULL, format('%s: refused: %s', p.machine, s.statement))
  FROM place p, (VALUES ('UPDATE {t} SET state = ''done'' WHERE {id} = {k}'), ('UPDATE {p} SET state = ''done'' WHERE {id} = {k}'), ('UPDATE {v} SET state = ''done'' WHERE {id} = {k}'),
    ('MERGE INTO {t} t USING (SELECT {k} AS key) s ON t.{id}::text = s.key WHEN MATCHED THEN UPDATE SET state = ''done''')) s(statement);
SELECT throws_ok(format('SELECT pg_temp.run(%L, %L, 41)', 'INSERT INTO {p} ({id}, state) VALUES ({k}, ''hot'')', machine), '23514', NULL, machine || ': a row cannot begin in the middle') FROM place;
SELECT throws_ok(format('SELECT pg_temp.run(%L, %L, 40)', CASE machine WHEN 'ways_uuid' THEN 'UPDATE {t} SET id = gen_random_uuid() WHERE id = {k}' ELSE 'UPDATE {t} SET {id} = 9200042 WHERE {id} = {k}' END, machine),
  '0A000', NULL, machine || ': the key cannot change') FROM place;
SELECT is(pg_temp.story(machine, 40), split_part(pg_temp.story(machine, 1), ' > ', 1), machine || ': nothing is left of what was refused') FROM place;

-- Triggers of others: one skips rows, one sets the state itself.
CREATE FUNCTION pg_temp.meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.note = 'skip' THEN RETURN NULL; END IF;
  IF NEW.note = 'heat' THEN NEW.state := 'hot'; END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER meddle BEFORE UPDATE ON public.ways_plain FOR EACH ROW EXECUTE FUNCTION pg_temp.meddle();
CREATE TRIGGER meddle BEFORE UPDATE ON public.ways_parted FOR EACH ROW EXECUTE FUNCTION pg_temp.meddle();
CREATE TRIGGER meddle BEFORE UPDATE ON public.ways_uuid FOR EACH ROW EXECUTE FUNCTION pg_temp.meddle();
SELECT count(pg_temp.run('INSERT INTO {t} ({id}) VALUES ({k})', p.machine, n)) FROM place p, generate_series(50, 52) n WHERE p.machine <> 'lead';
SELECT count(pg_temp.run('UPDATE {t} SET state = ''lost'', note = CASE WHEN {id} = ' || quote_literal(pg_temp.key(machine, 50)) || ' THEN ''skip'' END WHERE {id} IN ('
  || quote_literal(pg_temp.key(machine, 50)) || ', ' || quote_literal(pg_temp.key(machine, 51)) || ')', machine, 51)) FROM place WHERE machine <> 'lead';
SELECT count(pg_temp.run('UPDATE {t} SET note = ''heat'' WHERE {id} = {k}', machine, 52)) FROM place WHERE machine <> 'lead';
SELECT is(pg_temp.story(machine, 50), split_part(pg_temp.story(machine, 1), ' > ', 1), machine || ': a row that a trigger skips') FROM place WHERE machine <> 'lead';
SELECT matches(pg_temp.story(machine, 51), '/drop/new/lost/[^>]*$', machine || ': beside one that it does not') FROM place WHERE machine <> 'lead';
SELECT matches(pg_temp.story(machine, 52), '/heat/new/hot/[^>]*$', machine || ': a state that a trigger sets') FROM place WHERE machine <> 'lead';
DROP TRIGGER meddle ON public.ways_plain; DROP TRIGGER meddle ON public.ways_parted; DROP TRIGGER meddle ON public.ways_uuid;

-- Foreign keys: a state renamed by cascade is a change of state like any other, and so is a cascading delete a delete.
CREATE TABLE public.ways_stage (name text PRIMARY KEY);
INSERT INTO public.ways_stage VALUES ('new'), ('done'), ('lost');
CREATE TABLE public.ways_parent (id integer PRIMARY KEY);
INSERT INTO public.ways_parent VALUES (1), (2);
CREATE TABLE public.ways_child (id integer PRIMARY KEY, parent integer REFERENCES public.ways_parent ON DELETE CASCADE,
  state text NOT NULL DEFAULT 'new' REFERENCES public.ways_stage ON UPDATE CASCADE);
SELECT prm.define_machine('ways_child', '{"initial": "new", "on_delete": "cascade", "states": {"new": {"on": {"heat": {"target": "hot"}}}, "hot": {"on": {"end": {"target": "done"}}}, "done": {"type": "final"}}}');
SELECT prm.attach_machine('ways_child', 'ways_child');
INSERT INTO public.ways_child (id, parent) VALUES (1, 1), (2, 1), (3, 2);
SELECT throws_ok($$UPDATE public.ways_stage SET name = 'lost2' WHERE name = 'new'$$, '23514', NULL, 'a cascade to a state that the machine lacks');
UPDATE public.ways_stage SET name = 'hot' WHERE name = 'new';
SELECT results_eq($$SELECT subject_id, event FROM prm.state_history WHERE program_id = prm.current_program() AND machine = 'ways_child' AND event IS NOT NULL ORDER BY 1$$,
  $$VALUES (1::bigint, 'heat'), (2, 'heat'), (3, 'heat')$$, 'ON UPDATE CASCADE is a change of state');
DELETE FROM public.ways_parent WHERE id = 1;
SELECT results_eq($$SELECT DISTINCT subject_id FROM prm.state_history WHERE program_id = prm.current_program() AND machine = 'ways_child'$$, 'SELECT 3::bigint',
  'on_delete: cascade: the history goes with rows that a foreign key deletes');

-- DELETE: by default the history stays. TRUNCATE is refused, also by cascade.
SELECT count(pg_temp.run('DELETE FROM {t} WHERE {id} = {k}', machine, 10)) FROM place;
SELECT count(pg_temp.run('DELETE FROM {p} WHERE {id} = {k}', machine, 11)) FROM place;
SELECT count(pg_temp.run('MERGE INTO {t} t USING (SELECT {k} AS key) s ON t.{id}::text = s.key WHEN MATCHED THEN DELETE', machine, 12)) FROM place;
SELECT is(pg_temp.story(p.machine, n), pg_temp.story(p.machine, 1), format('%s: the history outlives row %s', p.machine, n)) FROM place p, generate_series(10, 12) n;
SET LOCAL client_min_messages = warning;
SELECT throws_ok(format('SELECT pg_temp.run(%L, %L, 10)', 'TRUNCATE {t} CASCADE', machine), '55000', NULL, machine || ': TRUNCATE') FROM place;
SELECT throws_ok('TRUNCATE public.ways_parted_1', '55000', NULL, 'TRUNCATE of a partition');
SELECT throws_ok('TRUNCATE public.ways_parent CASCADE', '55000', NULL, 'TRUNCATE by cascade');
SELECT throws_ok($$DELETE FROM prm.state_history WHERE machine = 'ways_child'$$, '55000', NULL, 'nobody else deletes history');
-- A key that comes back begins anew.
SELECT count(pg_temp.run('INSERT INTO {t} ({id}) VALUES ({k})', machine, 10)) FROM place;
SELECT matches(pg_temp.story(machine, 10), '/done/[^>]* > [12]/-/-/new/[^>]*$', machine || ': a key that comes back') FROM place;

-- A partition that came later has no triggers of its own: statements that name it are not seen, check() says so.
CREATE TABLE public.ways_parted_2 PARTITION OF public.ways_parted_a FOR VALUES FROM (9300000) TO (9400000);
SELECT is((SELECT count(*) FROM prm.check() WHERE object = 'table public.ways_parted_2'), 4::bigint, 'check() finds the partition');
SELECT is(prm.attach_machine('ways_parted', 'ways_parted', program_column => 'program_id'), 0::bigint, 'attached again');
SELECT is_empty('SELECT * FROM prm.check()', 'and it is mended');
INSERT INTO public.ways_parted_2 (id) VALUES (9300001);
SELECT is((SELECT count(*) FROM prm.state_history WHERE program_id = :p AND machine = 'ways_parted' AND subject_id = 9300001), 1::bigint, 'the new partition is seen');

-- Everything replays: the last entry of each living row is its present state.
SELECT is_empty($$SELECT t.* FROM (SELECT 'lead' AS machine, lead_id::text AS key, state FROM prm.lead WHERE program_id = prm.current_program()
    UNION ALL SELECT 'ways_plain', id::text, state FROM public.ways_plain UNION ALL SELECT 'ways_parted', id::text, state FROM public.ways_parted
    UNION ALL SELECT 'ways_uuid', id::text, state FROM public.ways_uuid UNION ALL SELECT 'ways_child', id::text, state FROM public.ways_child) t
  WHERE t.state IS DISTINCT FROM (SELECT h.to_state FROM prm.state_history h WHERE h.program_id = prm.current_program() AND h.machine = t.machine
    AND coalesce(h.subject_id::text, h.subject_uuid::text) = t.key ORDER BY h.history_id DESC LIMIT 1)$$, 'the history replays to the present states');

-- A programme that is deleted leaves the table of the user's, and lets go of it.
SELECT set_config('prm.program_id', prm.create_program('Short-lived', 'blank')::text, true) AS q \gset
CREATE TABLE public.ways_left (id bigint PRIMARY KEY, state text);
SELECT prm.define_machine('left_over', '{"initial": "new", "states": {"new": {}}}');
SELECT prm.attach_machine('ways_left', 'left_over');
INSERT INTO public.ways_left VALUES (1, 'new');
SELECT set_config('prm.program_id', :'p', true);
DELETE FROM prm.program WHERE program_id = :q;
SELECT throws_ok($$INSERT INTO public.ways_left VALUES (2, 'new')$$, '42501', format('table "ways_left" is not registered for machine "left_over" in programme %s', :q));
SELECT lives_ok('DELETE FROM public.ways_left', 'rows may be deleted');
SELECT lives_ok($$SELECT prm.detach_machine('ways_left')$$, 'left over triggers go');
SELECT lives_ok($$INSERT INTO public.ways_left VALUES (2, 'anything')$$, 'and the table is free');
SELECT throws_ok($$SELECT prm.detach_machine('ways_left')$$, '42704');

SELECT * FROM finish();
ROLLBACK;
