
-- Certification: the views.

CREATE OR REPLACE VIEW prm.v_certificate WITH (security_invoker = true) AS
  SELECT c.program_id, c.certificate_id, c.partner_id, p.name AS partner, c.partner_user_id, u.name AS person, c.certification, k.label, c.issued_on, c.valid_until,
    CASE WHEN d.today >= r.revoked_on THEN 'revoked' WHEN c.issued_on > d.today THEN 'upcoming' WHEN c.valid_until < d.today THEN 'expired'
      WHEN c.valid_until - k.renewal_days <= d.today THEN 'expiring' ELSE 'valid' END AS status,
    c.valid_until - d.today AS days_left, c.valid_until - k.renewal_days AS renewable_from,
    c.valid_until IS NOT NULL AND EXISTS (SELECT 1 FROM prm.certificate l WHERE l.program_id = c.program_id AND l.partner_user_id = c.partner_user_id AND l.certification = c.certification
      AND (l.valid_until IS NULL OR l.valid_until > c.valid_until)) AS is_renewed,
    u.is_active AS counts, c.renews_id, c.source, r.revoked_on, r.reason AS revocation_reason
  FROM prm.certificate c
  JOIN prm.certification k ON k.program_id = c.program_id AND k.certification = c.certification
  JOIN prm.partner p ON p.program_id = c.program_id AND p.partner_id = c.partner_id
  JOIN prm.partner_user u ON u.program_id = c.program_id AND u.partner_user_id = c.partner_user_id
  LEFT JOIN prm.certificate_revocation r ON r.program_id = c.program_id AND r.certificate_id = c.certificate_id
  CROSS JOIN LATERAL (SELECT (prm.now() AT TIME ZONE prm._program_time_zone(c.program_id))::date AS today) d;
COMMENT ON VIEW prm.v_certificate IS 'Every certificate and how it stands today, in the programme''s zone.';
COMMENT ON COLUMN prm.v_certificate.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_certificate.certificate_id IS 'Number of the certificate.';
COMMENT ON COLUMN prm.v_certificate.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.v_certificate.partner IS 'Its name.';
COMMENT ON COLUMN prm.v_certificate.partner_user_id IS 'The person.';
COMMENT ON COLUMN prm.v_certificate.person IS 'Their name.';
COMMENT ON COLUMN prm.v_certificate.certification IS 'The certification.';
COMMENT ON COLUMN prm.v_certificate.label IS 'Its name for people.';
COMMENT ON COLUMN prm.v_certificate.issued_on IS 'First day on which it counts.';
COMMENT ON COLUMN prm.v_certificate.valid_until IS 'Last day on which it counts; empty: no end.';
COMMENT ON COLUMN prm.v_certificate.status IS 'upcoming, valid, expiring (it can be renewed already), expired, revoked.';
COMMENT ON COLUMN prm.v_certificate.days_left IS 'Days until the last day; negative: since.';
COMMENT ON COLUMN prm.v_certificate.renewable_from IS 'First day on which a renewal is in time.';
COMMENT ON COLUMN prm.v_certificate.is_renewed IS 'Whether the person has one of the same certification that lasts longer.';
COMMENT ON COLUMN prm.v_certificate.counts IS 'Whether the person still works there; who left does not count.';
COMMENT ON COLUMN prm.v_certificate.renews_id IS 'The certificate that it renewed in time.';
COMMENT ON COLUMN prm.v_certificate.source IS 'manual, lms or track.';
COMMENT ON COLUMN prm.v_certificate.revoked_on IS 'First day on which it does not count because it was taken back.';
COMMENT ON COLUMN prm.v_certificate.revocation_reason IS 'Why it was.';

CREATE OR REPLACE VIEW prm.v_certification_coverage WITH (security_invoker = true) AS
  SELECT p.program_id, p.partner_id, p.name AS partner, k.certification, k.label, s.people, s.certified, round(s.certified::numeric / nullif(s.people, 0), 4) AS coverage,
    s.expiring, s.next_lapse_on
  FROM prm.partner p
  JOIN prm.certification k ON k.program_id = p.program_id
  CROSS JOIN LATERAL (SELECT (prm.now() AT TIME ZONE prm._program_time_zone(p.program_id))::date AS today) d
  CROSS JOIN LATERAL (
    SELECT count(*) AS people, count(h.last_day) AS certified, count(*) FILTER (WHERE h.last_day - k.renewal_days <= d.today) AS expiring,
      min(h.last_day) FILTER (WHERE isfinite(h.last_day)) + 1 AS next_lapse_on
    FROM prm.partner_user u
    -- A person is covered until the last of its certificates ends.
    LEFT JOIN LATERAL (
      SELECT max(coalesce(c.valid_until, 'infinity')) AS last_day FROM prm.certificate c
      WHERE c.program_id = p.program_id AND c.partner_user_id = u.partner_user_id AND c.certification = k.certification
        AND c.issued_on <= d.today AND (c.valid_until IS NULL OR c.valid_until >= d.today)) h ON true
    WHERE u.program_id = p.program_id AND u.partner_id = p.partner_id AND u.is_active) s;
COMMENT ON VIEW prm.v_certification_coverage IS 'How many people of each partner hold each certification today, and when that lapses next.';
COMMENT ON COLUMN prm.v_certification_coverage.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_certification_coverage.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.v_certification_coverage.partner IS 'Its name.';
COMMENT ON COLUMN prm.v_certification_coverage.certification IS 'The certification.';
COMMENT ON COLUMN prm.v_certification_coverage.label IS 'Its name for people.';
COMMENT ON COLUMN prm.v_certification_coverage.people IS 'Active people of the partner.';
COMMENT ON COLUMN prm.v_certification_coverage.certified IS 'Those of them that hold a valid certificate.';
COMMENT ON COLUMN prm.v_certification_coverage.coverage IS 'Their share, 0 to 1; empty without people.';
COMMENT ON COLUMN prm.v_certification_coverage.expiring IS 'Those whose last certificate can be renewed already, because it ends soon.';
COMMENT ON COLUMN prm.v_certification_coverage.next_lapse_on IS 'The first day on which one of them is certified no more, unless it is renewed.';

CREATE OR REPLACE VIEW prm.v_training WITH (security_invoker = true) AS
  SELECT t.program_id, t.partner_id, p.name AS partner, t.partner_user_id, u.name AS person, t.track, k.label, k.certification, t.assigned_on, t.due_on,
    s.steps, s.done, round(s.done::numeric / nullif(s.steps, 0), 4) AS progress, s.next_step,
    CASE WHEN s.done = s.steps THEN s.completed_on END AS completed_on, t.due_on < d.today AND s.done < s.steps AS is_overdue, c.valid_until AS certified_until
  FROM prm.track_enrolment t
  JOIN prm.track k ON k.program_id = t.program_id AND k.track = t.track
  JOIN prm.partner p ON p.program_id = t.program_id AND p.partner_id = t.partner_id
  JOIN prm.partner_user u ON u.program_id = t.program_id AND u.partner_user_id = t.partner_user_id
  CROSS JOIN LATERAL (SELECT prm._program_time_zone(t.program_id) AS zone, (prm.now() AT TIME ZONE prm._program_time_zone(t.program_id))::date AS today) d
  CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE x.is_required) AS steps, count(*) FILTER (WHERE x.is_required AND x.done_at IS NOT NULL) AS done,
      (max(x.done_at) FILTER (WHERE x.is_required) AT TIME ZONE d.zone)::date AS completed_on,
      (array_agg(coalesce(x.course, x.exam) ORDER BY x.position) FILTER (WHERE x.is_required AND x.done_at IS NULL))[1] AS next_step
    FROM (
      SELECT q.position, q.is_required, q.course, q.exam, coalesce(
        (SELECT min(a.attempted_at) FROM prm.exam_attempt a WHERE a.program_id = t.program_id AND a.partner_user_id = t.partner_user_id AND a.exam = q.exam AND a.passed),
        (SELECT min(a.completed_at) FROM prm.course_completion a WHERE a.program_id = t.program_id AND a.partner_user_id = t.partner_user_id AND a.course = q.course)) AS done_at
      FROM prm.track_step q WHERE q.program_id = t.program_id AND q.track = t.track) x) s
  LEFT JOIN LATERAL (
    SELECT nullif(max(coalesce(x.valid_until, 'infinity')), 'infinity') AS valid_until FROM prm.certificate x
    WHERE x.program_id = t.program_id AND x.partner_user_id = t.partner_user_id AND x.certification = k.certification) c ON true;
COMMENT ON VIEW prm.v_training IS 'Who was assigned which track and how far they are. A partner sees its own people.';
COMMENT ON COLUMN prm.v_training.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_training.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.v_training.partner IS 'Its name.';
COMMENT ON COLUMN prm.v_training.partner_user_id IS 'The person.';
COMMENT ON COLUMN prm.v_training.person IS 'Their name.';
COMMENT ON COLUMN prm.v_training.track IS 'The track.';
COMMENT ON COLUMN prm.v_training.label IS 'Its name for people.';
COMMENT ON COLUMN prm.v_training.certification IS 'What it certifies.';
COMMENT ON COLUMN prm.v_training.assigned_on IS 'When it was assigned.';
COMMENT ON COLUMN prm.v_training.due_on IS 'By when it should be done.';
COMMENT ON COLUMN prm.v_training.steps IS 'Required steps.';
COMMENT ON COLUMN prm.v_training.done IS 'Those done.';
COMMENT ON COLUMN prm.v_training.progress IS 'Their share, 0 to 1.';
COMMENT ON COLUMN prm.v_training.next_step IS 'The course or exam that is next.';
COMMENT ON COLUMN prm.v_training.completed_on IS 'The day of the last required step; empty while one is missing.';
COMMENT ON COLUMN prm.v_training.is_overdue IS 'Whether it is not done though the day has passed.';
COMMENT ON COLUMN prm.v_training.certified_until IS 'The last day of the person''s certificate of that certification.';

CREATE OR REPLACE VIEW prm.v_exam_attempts WITH (security_invoker = true) AS
  SELECT g.program_id, u.partner_id, p.name AS partner, a.partner_user_id, u.name AS person, a.exam, e.label, a.attempts, a.last_attempt_at, a.passed_at, a.attempts_left, a.is_possible, a.next_at, a.reason
  FROM (SELECT x.program_id FROM prm.exam x GROUP BY x.program_id) g
  CROSS JOIN LATERAL prm._exam_attempts(g.program_id, NULL, NULL) a
  CROSS JOIN LATERAL (SELECT x.label FROM prm.exam x WHERE x.program_id = g.program_id AND x.exam = a.exam OFFSET 0) e
  CROSS JOIN LATERAL (SELECT x.name, x.partner_id FROM prm.partner_user x WHERE x.program_id = g.program_id AND x.partner_user_id = a.partner_user_id OFFSET 0) u
  CROSS JOIN LATERAL (SELECT x.name FROM prm.partner x WHERE x.program_id = g.program_id AND x.partner_id = u.partner_id OFFSET 0) p;
COMMENT ON VIEW prm.v_exam_attempts IS 'How everybody who is to take or took an exam stands with it at prm.now(): attempts made and left, and when the next is possible. A partner sees its own people. exam_attempts_left() tells it of one person.';
COMMENT ON COLUMN prm.v_exam_attempts.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_exam_attempts.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.v_exam_attempts.partner IS 'Its name.';
COMMENT ON COLUMN prm.v_exam_attempts.partner_user_id IS 'The person.';
COMMENT ON COLUMN prm.v_exam_attempts.person IS 'Their name.';
COMMENT ON COLUMN prm.v_exam_attempts.exam IS 'The exam.';
COMMENT ON COLUMN prm.v_exam_attempts.label IS 'Its name for people.';
COMMENT ON COLUMN prm.v_exam_attempts.attempts IS 'How often it was taken.';
COMMENT ON COLUMN prm.v_exam_attempts.last_attempt_at IS 'When last.';
COMMENT ON COLUMN prm.v_exam_attempts.passed_at IS 'When it was first passed.';
COMMENT ON COLUMN prm.v_exam_attempts.attempts_left IS 'Attempts left, by the tightest limit; empty: their number is not limited.';
COMMENT ON COLUMN prm.v_exam_attempts.is_possible IS 'Whether an attempt is possible now.';
COMMENT ON COLUMN prm.v_exam_attempts.next_at IS 'From when on the next is possible: now, or later; empty: never.';
COMMENT ON COLUMN prm.v_exam_attempts.reason IS 'Why not now.';

CREATE OR REPLACE VIEW prm.v_certificate_impact WITH (security_invoker = true) AS
  SELECT g.program_id, i.partner_id, p.name AS partner, i.certificate_id, i.partner_user_id, u.name AS person, i.certification, i.lapses_on, i.ladder, i.tier, i.track,
    i.metric, i.op, i.need, i.have, i.have_after, i.requirement_fails, i.tier_falls, i.to_tier, i.benefits, i.required_by
  FROM prm.program g
  CROSS JOIN LATERAL prm._certificate_impacts(g.program_id, NULL) i
  CROSS JOIN LATERAL (SELECT x.name FROM prm.partner x WHERE x.program_id = g.program_id AND x.partner_id = i.partner_id OFFSET 0) p
  CROSS JOIN LATERAL (SELECT x.name FROM prm.partner_user x WHERE x.program_id = g.program_id AND x.partner_user_id = i.partner_user_id OFFSET 0) u;
COMMENT ON VIEW prm.v_certificate_impact IS 'What depends on each certificate that ends: which requirement fails, which tier falls and which benefits go on the day after. For one partner certificate_impact() is quicker.';
COMMENT ON COLUMN prm.v_certificate_impact.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_certificate_impact.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.v_certificate_impact.partner IS 'Its name.';
COMMENT ON COLUMN prm.v_certificate_impact.certificate_id IS 'The certificate.';
COMMENT ON COLUMN prm.v_certificate_impact.partner_user_id IS 'The person.';
COMMENT ON COLUMN prm.v_certificate_impact.person IS 'Their name.';
COMMENT ON COLUMN prm.v_certificate_impact.certification IS 'The certification.';
COMMENT ON COLUMN prm.v_certificate_impact.lapses_on IS 'First day without it.';
COMMENT ON COLUMN prm.v_certificate_impact.ladder IS 'The ladder; empty where it is about a benefit that comes with the certification itself.';
COMMENT ON COLUMN prm.v_certificate_impact.tier IS 'The tier that the partner holds.';
COMMENT ON COLUMN prm.v_certificate_impact.track IS 'The track of the requirement.';
COMMENT ON COLUMN prm.v_certificate_impact.metric IS 'The metric that counts it.';
COMMENT ON COLUMN prm.v_certificate_impact.op IS '>= or <=.';
COMMENT ON COLUMN prm.v_certificate_impact.need IS 'What it takes to keep the tier.';
COMMENT ON COLUMN prm.v_certificate_impact.have IS 'What there is on its last day.';
COMMENT ON COLUMN prm.v_certificate_impact.have_after IS 'What there is the day after.';
COMMENT ON COLUMN prm.v_certificate_impact.requirement_fails IS 'Whether the requirement fails with it.';
COMMENT ON COLUMN prm.v_certificate_impact.tier_falls IS 'Whether the tier is not met any more with it.';
COMMENT ON COLUMN prm.v_certificate_impact.to_tier IS 'The tier that is left.';
COMMENT ON COLUMN prm.v_certificate_impact.benefits IS 'The benefits that change: name: value -> what is left.';
COMMENT ON COLUMN prm.v_certificate_impact.required_by IS 'Whose requirement it is: the tier held, or a better one by which alone it is met.';
