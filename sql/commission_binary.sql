-- The binary form: COPY there and back, and what comes in damaged.
\getenv abs_builddir PG_ABS_BUILDDIR
\set file :abs_builddir '/results/commission_schedule.bin'

CREATE TABLE sent (id int, schedule prm.commission_schedule);
INSERT INTO sent SELECT row_number() OVER (), schedule::prm.commission_schedule
FROM unnest(ARRAY['10%', 'marginal 0: 1%, 1000: 2%, 3000: 3%, 8000: 5%', 'slab 0.5: -12.25, 1.5: 3 each ties low',
                  'interpolated 0: 0, 1000: 10', 'slab 0: 0.000000000000000001 each, 999999999999999999: 100%', NULL]) AS schedule;
INSERT INTO sent SELECT 7, ('marginal ' || string_agg(i || ': ' || i % 100 || '%', ', ' ORDER BY i))::prm.commission_schedule FROM generate_series(0, 999) AS i;
COPY sent TO STDOUT (FORMAT binary) \g :file
CREATE TABLE received (LIKE sent);
\set load '\\copy received FROM ' :file ' (FORMAT binary)'
:load
SELECT count(*), count(*) FILTER (WHERE sent.schedule::text IS NOT DISTINCT FROM received.schedule::text) AS same
FROM sent JOIN received USING (id);
DROP TABLE sent;

-- The version comes first.
SELECT prm.commission_schedule_send('marginal 0: 1%, 2.5: -3 each ties low');

-- A file with one value of these bytes.
CREATE FUNCTION binary_file(bytes bytea) RETURNS bytea LANGUAGE sql AS $$
  SELECT '\x5047434f50590aff0d0a000000000000000000'::bytea || '\x0002'::bytea || '\x0000000400000001'::bytea || int4send(length(bytes)) || bytes || '\xffff'::bytea
$$;
-- No byte at all; another version; an unknown mode; cut short; a byte too many.
SELECT lo_from_bytea(0, binary_file('\x')) AS lo \gset
\lo_export :lo :file
:load
SELECT lo_from_bytea(0, binary_file('\x02010101000000')) AS lo \gset
\lo_export :lo :file
:load
SELECT lo_from_bytea(0, binary_file('\x01050101000000')) AS lo \gset
\lo_export :lo :file
:load
SELECT lo_from_bytea(0, binary_file('\x0101010100')) AS lo \gset
\lo_export :lo :file
:load
SELECT lo_from_bytea(0, binary_file('\x010101010000000a00')) AS lo \gset
\lo_export :lo :file
:load
-- A percentage above 100, a bound below the one before it, a number that is not in its shortest form, negative zero, no bracket.
SELECT lo_from_bytea(0, binary_file('\x0101010100000065')) AS lo \gset
\lo_export :lo :file
:load
SELECT lo_from_bytea(0, binary_file('\x01030201000500050100040000')) AS lo \gset
\lo_export :lo :file
:load
SELECT lo_from_bytea(0, binary_file('\x010101010000018a00')) AS lo \gset
\lo_export :lo :file
:load
SELECT lo_from_bytea(0, binary_file('\x0101010180000000')) AS lo \gset
\lo_export :lo :file
:load
SELECT lo_from_bytea(0, binary_file('\x010300')) AS lo \gset
\lo_export :lo :file
:load
-- Unharmed, it is read.
SELECT lo_from_bytea(0, binary_file('\x010101010000000a')) AS lo \gset
\lo_export :lo :file
:load
SELECT schedule FROM received WHERE id = 1;
SELECT count(lo_unlink(oid)) FROM pg_largeobject_metadata;
DROP FUNCTION binary_file;
DROP TABLE received;
