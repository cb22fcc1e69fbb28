
-- The holds that stand: before the views of earning, which show them. Everything else about them is in 55_risk.sql.

CREATE OR REPLACE VIEW prm._standing_hold WITH (security_invoker = true) AS
  SELECT h.program_id, h.hold_id, h.entry_id, h.partner_id, h.kind, h.reason, h.placed_at,
    EXISTS (SELECT 1 FROM prm.ledger_hold c WHERE c.program_id = h.program_id AND c.hold_ref = h.hold_id AND c.action = 'cancel') AS is_ban
  FROM prm.ledger_hold h
  WHERE h.action = 'place'
    AND NOT EXISTS (SELECT 1 FROM prm.ledger_hold e WHERE e.program_id = h.program_id AND e.hold_ref = h.hold_id AND e.action IN ('release', 'expire'));
COMMENT ON VIEW prm._standing_hold IS 'The holds that stand; not for direct use.';
COMMENT ON COLUMN prm._standing_hold.program_id IS 'The programme.';
COMMENT ON COLUMN prm._standing_hold.hold_id IS 'Number of the hold.';
COMMENT ON COLUMN prm._standing_hold.entry_id IS 'The entry that it holds; NULL: all that the partner earned.';
COMMENT ON COLUMN prm._standing_hold.partner_id IS 'The partner.';
COMMENT ON COLUMN prm._standing_hold.kind IS 'risk, dispute or manual.';
COMMENT ON COLUMN prm._standing_hold.reason IS 'Why.';
COMMENT ON COLUMN prm._standing_hold.placed_at IS 'Since when.';
COMMENT ON COLUMN prm._standing_hold.is_ban IS 'Whether it was turned into a ban, which does not hold what the partner owes.';
