-- Health: a score that explains itself.
SET client_min_messages = warning;
\set SHOW_CONTEXT never
SET TIME ZONE 'UTC';
SET datestyle = 'ISO, MDY';
SELECT prm.install() IS NOT NULL AS installed;
ALTER TABLE prm.program ALTER COLUMN program_id RESTART WITH 811;
SELECT prm.create_program('Health', 'reseller', 'USD') AS programme;
SET prm.program_id = '811';
SET prm.clock = '2026-03-02 12:00:00+00';

-- The arithmetic alone.
SELECT prm.normalize_metric(30, 'linear', 0, 40) AS linear, prm.normalize_metric(24, 'inverse', 0, 96) AS inverse, prm.normalize_metric(66.6, 'as_is', NULL, NULL) AS as_is;
SELECT prm.weighted_score(score, weight) FROM (VALUES (80, 50), (NULL, 30), (60, 20)) AS x(score, weight);
SELECT prm.normalize_metric(30, 'logarithmic', 0, 40);
SELECT prm.normalize_metric(30, 'linear', 40, 0);
SELECT prm.weighted_score(80, -1);

-- A partner of whom little is known, and one of whom nothing is.
INSERT INTO prm.partner (partner_id, name) VALUES (1, 'Alder Systems');
SELECT prm.record_metric(1, 'logins_30d', 15), prm.record_metric(1, 'nps', 40);
INSERT INTO prm.deal (deal_id, partner_id, name, amount, currency) VALUES (8110001, 1, 'Acorn Foods', 30000, 'USD'), (8110002, 1, 'Oak & Sons', 9000, 'USD');
UPDATE prm.deal SET state = 'won' WHERE program_id = 811 AND deal_id = 8110001;
UPDATE prm.deal SET state = 'lost' WHERE program_id = 811 AND deal_id = 8110002;
SELECT * FROM prm.health(1);
SELECT group_name, metric, value, round(normalized, 2) AS normalized, round(share, 4) AS share, round(contribution, 4) AS contribution, note FROM prm.explain_health(1);
SELECT sum(contribution) = (SELECT score FROM prm.health(1)) AS adds_up FROM prm.explain_health(1);

-- A snapshot, and the trend since.
SELECT prm.refresh_health();
SET prm.clock = '2026-03-09 12:00:00+00';
SELECT prm.record_metric(1, 'nps', 80);
SELECT round(score, 2) AS score, band, round(trend, 2) AS trend FROM prm.health(1);

-- A knock-out is part of the explanation.
UPDATE prm.health_metric SET knock_out_below = 20, knock_out_cap = 35 WHERE program_id = 811 AND metric = 'logins_30d';
SELECT score, band FROM prm.health(1);
SELECT group_name, round(contribution, 4) AS contribution, note FROM prm.explain_health(1) WHERE note IS NOT NULL;
SELECT name, health_score, health_band, health_coverage FROM prm.v_partner WHERE program_id = 811;
SELECT p.name, prm.health_score(p), prm.health_band(p) FROM prm.partner p WHERE program_id = 811;
SELECT * FROM prm.health(99);

-- What changed since, by metric, and how it went.
SELECT group_name, metric, value_before, value_after, round(effect, 4) AS effect, note FROM prm.health_changes(1, '2026-03-05') WHERE effect <> 0;
SELECT taken_at, version, round(score, 2) AS score, band FROM prm.health_trend(1);
SELECT aspect, group_name, round(score, 2) AS score, coverage, round(contribution, 4) AS contribution FROM prm.health_groups(1);

-- A second model, of another kind, for hubs: findings take points, and what the owner says is a choice.
INSERT INTO prm.metric (metric, label) VALUES ('findings', 'Findings of the audit'), ('mood', 'How the owner sees it');
INSERT INTO prm.partner_kind (kind, label) VALUES ('hub', 'Hub') ON CONFLICT DO NOTHING;
INSERT INTO prm.health_model (model, label, kind, partner_kind) VALUES ('audit', 'Audit', 'additive', 'hub');
INSERT INTO prm.health_metric (model, metric, group_name, how, points, options) VALUES ('audit', 'findings', 'audit', 'per_unit', -12, '{}'),
  ('audit', 'mood', 'owner', 'choice', 20, '{"choices": {"great": 100, "awful": 0}}');
INSERT INTO prm.partner (partner_id, name, kind) VALUES (2, 'Birch Hub', 'hub');
SELECT prm.record_metric(2, 'findings', 3), prm.record_choice(2, 'mood', 'great');
SELECT group_name, metric, value, choice, contribution, note FROM prm.explain_health(2);
SELECT prm.record_choice(2, 'mood', 'meh');
INSERT INTO prm.health_model (model, label, kind, segment, options) VALUES ('odd', 'Odd', 'rules', 'vip', '{"rule": "guess"}');
INSERT INTO prm.health_metric (model, metric, group_name, how, options) VALUES ('audit', 'nps', 'x', 'step', '{"ranges": [{"range": "(0,5]", "score": 1}, {"range": "(4,9]", "score": 2}]}');
SELECT portfolio, partners, scored, round(score, 2) AS score, bands FROM prm.health_portfolio('kind');
SELECT version, outcome, observations, lost, auc, note FROM prm.health_backtest('standard', '5 days', '{"dates": 1}');
RESET prm.clock;
RESET prm.program_id;
