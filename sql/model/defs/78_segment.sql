
-- Segments: what the tables hold, and the views over them.

COMMENT ON TABLE prm.segment IS 'Groups of partners, by criteria over profile and metrics, or by hand. A partner, a prospect too, may be in several.';
COMMENT ON COLUMN prm.segment.segment IS 'Short name.';
COMMENT ON COLUMN prm.segment.label IS 'Name for people.';
COMMENT ON COLUMN prm.segment.description IS 'What it is for.';
COMMENT ON COLUMN prm.segment.criteria IS 'Who belongs to it: a jsonpath comparison over {partner, metrics, certifications, health}, strict, so that an absent field satisfies nothing; NULL: a static segment, whose members are set by hand.';
COMMENT ON COLUMN prm.segment.touch_model IS 'How its partners are cared for: high (a person of their own), tech (by the portal), pooled (a shared team); NULL: it does not say.';
COMMENT ON COLUMN prm.segment.position IS 'Place in lists; where one segment must be chosen among several, the lowest wins.';
COMMENT ON COLUMN prm.segment.is_active IS 'False: refresh_segments() ends its memberships by criteria.';

COMMENT ON TABLE prm.segment_member IS 'Who is, or was, in a segment when. Who is in it now: valid @> prm.now(). Written by refresh_segments(), add_segment_member() and remove_segment_member().';
COMMENT ON COLUMN prm.segment_member.segment IS 'The segment.';
COMMENT ON COLUMN prm.segment_member.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.segment_member.valid IS 'From when (it belongs to it) until when (it does not); no end: until further notice.';
COMMENT ON COLUMN prm.segment_member.source IS 'criteria: found by refresh_segments(). manual: put there by somebody, and kept whatever the criteria say.';
COMMENT ON COLUMN prm.segment_member.reason IS 'Why it was put there by hand.';
COMMENT ON COLUMN prm.segment_member.actor IS 'Who wrote the row: the setting prm.actor, else the role.';

COMMENT ON TABLE prm.ipp_model IS 'What the ideal partner looks like: versions of a model, of which one is in force.';
COMMENT ON COLUMN prm.ipp_model.model IS 'The model; ipp_score() takes standard by default.';
COMMENT ON COLUMN prm.ipp_model.version IS 'Its version, from 1.';
COMMENT ON COLUMN prm.ipp_model.label IS 'Name for people.';
COMMENT ON COLUMN prm.ipp_model.is_active IS 'Whether this version is the one in force.';
COMMENT ON TABLE prm.ipp_criterion IS 'What a version of the model counts: each criterion that a partner meets adds its share of the weights.';
COMMENT ON COLUMN prm.ipp_criterion.model IS 'The model.';
COMMENT ON COLUMN prm.ipp_criterion.version IS 'Its version.';
COMMENT ON COLUMN prm.ipp_criterion.criterion IS 'Short name.';
COMMENT ON COLUMN prm.ipp_criterion.label IS 'What it says, for people.';
COMMENT ON COLUMN prm.ipp_criterion.criteria IS 'A jsonpath comparison over the same document as the criteria of segments.';
COMMENT ON COLUMN prm.ipp_criterion.weight IS 'Its weight; the score is 100 times the weights met over all weights.';
COMMENT ON COLUMN prm.ipp_criterion.position IS 'Place in the list.';
