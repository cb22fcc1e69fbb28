
-- The outbox as consumers see it: take a batch, deliver it, report. At least once, to one consumer at a time.

CREATE TYPE prm.outbox_message AS (outbox_id bigint, aggregate_type text, aggregate_id text, event_type text, channel text, payload jsonb,
  occurred_at timestamptz, attempts integer, lease_until timestamptz, program_id bigint);
COMMENT ON TYPE prm.outbox_message IS
'A message that claim_outbox() handed out: what it is about, what happened, the payload, which attempt this is, and until when nobody else gets it.';

CREATE FUNCTION prm._check_options(options jsonb, known text[], what text) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_unknown text;
BEGIN
  IF _check_options.options IS NULL OR jsonb_typeof(_check_options.options) <> 'object' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('the options of %s are no JSON object', _check_options.what),
      DETAIL = format('They were given as %s.', coalesce(_check_options.options::text, 'NULL')), HINT = 'Leave them out, or give an object like {}.';
  END IF;
  SELECT k INTO the_unknown FROM jsonb_object_keys(_check_options.options) k WHERE NOT k = ANY (_check_options.known) ORDER BY k LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('%s has no option "%s"', _check_options.what, the_unknown),
      DETAIL = format('The options are %s.', array_to_string(_check_options.known, ', ')), HINT = 'Correct the name of the option.';
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm._check_options(jsonb, text[], text) IS 'Refuses options that are no object or have an unknown key (22023).';

CREATE FUNCTION prm.claim_outbox(consumer text, batch integer DEFAULT 100, options jsonb DEFAULT '{}', program_id bigint DEFAULT prm.current_program())
RETURNS SETOF prm.outbox_message
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(claim_outbox.program_id);
  the_lease interval := '5 minutes';
  the_channel text;
BEGIN
  PERFORM prm._check_options(claim_outbox.options, ARRAY['lease', 'channel'], 'claim_outbox');
  IF coalesce(btrim(claim_outbox.consumer), '') = '' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'a consumer needs a name',
      DETAIL = 'The name is kept beside each message that it claims.', HINT = 'SELECT * FROM prm.claim_outbox(''mailer-1'').';
  END IF;
  IF claim_outbox.batch IS NULL OR claim_outbox.batch NOT BETWEEN 1 AND 10000 THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('a batch of %s messages cannot be claimed', coalesce(claim_outbox.batch::text, 'NULL')),
      DETAIL = 'A batch has 1 to 10000 messages.', HINT = 'Leave it out for 100.';
  END IF;
  IF claim_outbox.options ? 'lease' THEN
    BEGIN
      the_lease := (claim_outbox.options ->> 'lease')::interval;
    EXCEPTION WHEN data_exception THEN
      the_lease := NULL;
    END;
    IF the_lease IS NULL OR the_lease < interval '1 second' OR the_lease > interval '7 days' THEN
      RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('the lease %s is no time that a message may be kept', claim_outbox.options -> 'lease'),
        DETAIL = 'A lease lasts from 1 second to 7 days.', HINT = 'Give it as "5 minutes", which is the default.';
    END IF;
  END IF;
  the_channel := claim_outbox.options ->> 'channel';

  RETURN QUERY
    WITH due AS (
      SELECT o.outbox_id FROM prm.outbox o
      WHERE o.program_id = the_program AND o.done_at IS NULL AND o.available_at <= prm.now() AND (the_channel IS NULL OR o.channel = the_channel)
      ORDER BY o.outbox_id LIMIT claim_outbox.batch
      FOR UPDATE SKIP LOCKED
    ), claimed AS (
      UPDATE prm.outbox o SET status = 'claimed', claimed_by = btrim(claim_outbox.consumer), claimed_at = prm.now(),
        available_at = prm.now() + the_lease, attempts = o.attempts + 1
      FROM due d WHERE o.program_id = the_program AND o.outbox_id = d.outbox_id
      RETURNING o.*
    )
    SELECT c.outbox_id, c.aggregate_type, c.aggregate_id, c.event_type, c.channel, c.payload, c.occurred_at, c.attempts, c.available_at, c.program_id
    FROM claimed c ORDER BY c.outbox_id;
END
$prm$;
COMMENT ON FUNCTION prm.claim_outbox(text, integer, jsonb, bigint) IS
'Takes up to batch messages, the oldest first; nobody else gets them until the lease ends. Deliver them, then call ack_outbox() for each. Options: lease ("5 minutes"), channel. At least once: a message whose lease ended is handed out again. Error 22023 bad consumer, batch or option.';

CREATE FUNCTION prm.ack_outbox(outbox_id bigint, status text DEFAULT 'done', detail text DEFAULT NULL, program_id bigint DEFAULT prm.current_program())
RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(ack_outbox.program_id);
  the_most constant integer := 10;
  the_status text;
  message record;
BEGIN
  IF ack_outbox.status IS NULL OR ack_outbox.status NOT IN ('done', 'failed') THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('a message cannot be reported as "%s"', coalesce(ack_outbox.status, 'NULL')),
      DETAIL = 'A delivery is done or failed.', HINT = 'Report failed with the reason in detail; the message is tried again later.';
  END IF;
  SELECT o.status, o.attempts INTO message FROM prm.outbox o
    WHERE o.program_id = the_program AND o.outbox_id = ack_outbox.outbox_id FOR UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('message %s does not exist', coalesce(ack_outbox.outbox_id::text, 'NULL')),
      DETAIL = format('There is no such row in prm.outbox of programme %s.', the_program), HINT = 'Report the outbox_id that claim_outbox() returned.';
  END IF;
  IF message.status <> 'claimed' THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('message %s is not claimed', ack_outbox.outbox_id),
      DETAIL = format('Its status is %s.', message.status),
      HINT = CASE message.status WHEN 'pending' THEN 'Nobody has it: its lease ended, or it was reported as failed. Claim it again with claim_outbox().' ELSE 'It was reported already.' END;
  END IF;
  the_status := CASE WHEN ack_outbox.status = 'done' THEN 'done' WHEN message.attempts >= the_most THEN 'failed' ELSE 'pending' END;
  UPDATE prm.outbox o SET status = the_status, detail = ack_outbox.detail,
    done_at = CASE WHEN the_status <> 'pending' THEN prm.now() END,
    -- 1, 2, 4 ... minutes: 8.5 hours from the first failure to the last attempt.
    available_at = CASE WHEN the_status = 'pending' THEN prm.now() + interval '1 minute' * (2 ^ (message.attempts - 1)) ELSE o.available_at END
  WHERE o.program_id = the_program AND o.outbox_id = ack_outbox.outbox_id;
  RETURN the_status;
END
$prm$;
COMMENT ON FUNCTION prm.ack_outbox(bigint, text, text, bigint) IS
'Reports the delivery of a claimed message: done, or failed with the reason in detail. Returns its status: done, pending (it is tried again after 1, 2, 4 ... minutes), or failed (given up after 10 attempts). Errors: 22023 unknown status, 42704 unknown message, 55000 not claimed.';
