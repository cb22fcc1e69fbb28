
-- Templates: what a new programme begins with, as data. Every row may be changed afterwards.

CREATE FUNCTION prm._template(template text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $prm$
#variable_conflict use_column
DECLARE
  -- Every programme has these: without them no partner, lead or deal could be stored.
  the_basis constant jsonb := $template${
    "machine": {
      "partner": {"initial": "applicant", "states": {
        "applicant": {"on": {"admit": {"target": "onboarding", "actor": "vendor"},
                             "reject": {"target": "rejected", "actor": "vendor", "reason": true}}},
        "onboarding": {"on": {"activate": {"target": "active", "actor": "vendor"},
                              "offboard": {"target": "offboarding", "actor": "vendor", "reason": true}}},
        "active": {"on": {"suspend": {"target": "suspended", "actor": "vendor"},
                          "offboard": {"target": "offboarding", "actor": "vendor", "reason": true}}},
        "suspended": {"on": {"resume": {"target": "active", "actor": "vendor"},
                             "offboard": {"target": "offboarding", "actor": "vendor", "reason": true}}},
        "offboarding": {"on": {"terminate": {"target": "terminated", "actor": "vendor"}}},
        "terminated": {"type": "final", "category": "lost"},
        "rejected": {"type": "final", "category": "lost"}}},
      "lead": {"initial": "new", "states": {
        "new": {"on": {"qualify": {"target": "partner_qualified", "actor": "partner",
                                   "required": ["company", "need", "budget", "timeline_on", "decision_maker"], "criteria": true},
                       "disqualify": {"target": "disqualified", "reason": true}}},
        "partner_qualified": {"on": {"return": {"target": "returned", "actor": "vendor", "reason": true},
                                     "approve": {"target": "approved", "actor": "vendor"},
                                     "disqualify": {"target": "disqualified", "reason": true}}},
        "returned": {"on": {"qualify": {"target": "partner_qualified", "actor": "partner",
                                        "required": ["company", "need", "budget", "timeline_on", "decision_maker"], "criteria": true},
                            "disqualify": {"target": "disqualified", "reason": true}}},
        "approved": {"on": {"deepen": {"target": "vendor_qualified", "actor": "vendor"},
                            "convert": {"target": "converted", "creates": "deal"},
                            "disqualify": {"target": "disqualified", "reason": true}}},
        "vendor_qualified": {"on": {"convert": {"target": "converted", "creates": "deal"},
                                    "disqualify": {"target": "disqualified", "reason": true}}},
        "converted": {"type": "final", "category": "won"},
        "disqualified": {"type": "final", "category": "lost"}}},
      "deal": {"initial": "prospecting", "states": {
        "prospecting": {"on": {"propose": {"target": "proposal"},
                               "win": {"target": "won", "required": ["amount"]}, "lose": {"target": "lost"}}},
        "proposal": {"on": {"negotiate": {"target": "negotiation"},
                            "win": {"target": "won", "required": ["amount"]}, "lose": {"target": "lost"}}},
        "negotiation": {"on": {"win": {"target": "won", "required": ["amount"]}, "lose": {"target": "lost"}}},
        "won": {"type": "final", "category": "won"},
        "lost": {"type": "final", "category": "lost"}}},
      "mdf_request": {"initial": "requested", "states": {
        "requested": {"on": {"approve": {"target": "approved", "actor": "vendor"}, "reject": {"target": "rejected", "actor": "vendor", "reason": true}}},
        "approved": {"on": {"claim": {"target": "claimed"}, "claim_late": {"target": "rejected_late"}, "expire": {"target": "expired", "actor": "vendor"},
                            "reject": {"target": "rejected", "actor": "vendor", "reason": true}}},
        "claimed": {"on": {"reimburse": {"target": "reimbursed", "actor": "vendor"}, "reject": {"target": "rejected", "actor": "vendor", "reason": true}}},
        "reimbursed": {"type": "final", "category": "won"},
        "rejected": {"type": "final", "category": "lost"},
        "rejected_late": {"type": "final", "category": "lost"},
        "expired": {"type": "final", "category": "lost"}}},
      "registration": {"initial": "draft", "states": {
        "draft": {"on": {"submit": {"target": "submitted"}, "cancel": {"target": "canceled"}}},
        "submitted": {"on": {"review": {"target": "under_review", "actor": "vendor"},
                             "approve": {"target": "approved", "actor": "vendor", "required": ["customer_id"]},
                             "reject": {"target": "rejected", "actor": "vendor", "reason": true}, "cancel": {"target": "canceled"}}},
        "under_review": {"on": {"forward": {"target": "pending_approval", "actor": "vendor"},
                                "approve": {"target": "approved", "actor": "vendor", "required": ["customer_id"]},
                                "reject": {"target": "rejected", "actor": "vendor", "reason": true}, "cancel": {"target": "canceled"}}},
        "pending_approval": {"on": {"approve": {"target": "approved", "actor": "vendor", "required": ["customer_id"]},
                                    "reject": {"target": "rejected", "actor": "vendor", "reason": true}, "cancel": {"target": "canceled"}}},
        "approved": {"on": {"close": {"target": "closed"}, "expire": {"target": "expired", "actor": "vendor"}, "cancel": {"target": "canceled"}}},
        "closed": {"type": "final", "category": "won"},
        "expired": {"type": "final", "category": "lost"},
        "rejected": {"type": "final", "category": "lost"},
        "canceled": {"type": "final", "category": "lost"}}},
      "statement": {"initial": "settled", "states": {
        "settled": {"on": {"approve": {"target": "approved", "actor": "vendor"}, "dispute": {"target": "disputed", "reason": true},
                           "cancel": {"target": "cancelled", "actor": "vendor", "reason": true},
                           "carry": {"target": "carried", "actor": "vendor", "guard": "$.total < 0"}}},
        "disputed": {"on": {"resolve": {"target": "settled", "actor": "vendor", "reason": true}}},
        "approved": {"on": {"invoice": {"target": "invoiced", "actor": "vendor"}, "pay": {"target": "paid", "actor": "vendor"},
                            "reopen": {"target": "settled", "actor": "vendor", "reason": true}, "dispute": {"target": "disputed", "reason": true},
                            "cancel": {"target": "cancelled", "actor": "vendor", "reason": true},
                            "carry": {"target": "carried", "actor": "vendor", "guard": "$.total < 0"}}},
        "invoiced": {"on": {"pay": {"target": "paid", "actor": "vendor"}, "uninvoice": {"target": "settled", "actor": "vendor"},
                            "carry": {"target": "carried", "actor": "vendor", "guard": "$.total < 0"}}},
        "paid": {"on": {"bounce": {"target": "approved", "actor": "vendor"}, "bounce_invoiced": {"target": "invoiced", "actor": "vendor"}}},
        "carried": {"type": "final", "category": "won"},
        "cancelled": {"type": "final", "category": "lost"}}},
      "payout": {"initial": "pending", "states": {
        "pending": {"on": {"pay": {"target": "paid", "actor": "vendor"}, "fail": {"target": "failed", "actor": "vendor"}}},
        "paid": {"on": {"bounce": {"target": "failed", "actor": "vendor"}}},
        "failed": {"on": {"reissue": {"target": "pending", "actor": "vendor"}}}}}
    },
    "partner_kind": [
      {"kind": "reseller", "label": "Reseller", "prospects": true, "sells": true, "supports": true},
      {"kind": "affiliate", "label": "Affiliate", "prospects": true},
      {"kind": "influencer", "label": "Influencer", "prospects": true},
      {"kind": "consultant", "label": "Consultant", "prospects": true, "implements": true},
      {"kind": "hub", "label": "Hub of partners", "sells": true},
      {"kind": "franchisee", "label": "Franchisee", "prospects": true, "sells": true, "implements": true, "supports": true},
      {"kind": "integrator", "label": "Integrator", "sells": true, "implements": true, "supports": true},
      {"kind": "distributor", "label": "Distributor", "sells": true},
      {"kind": "referrer", "label": "Referrer", "prospects": true},
      {"kind": "accountant", "label": "Accounting firm", "prospects": true}
    ],
    "earning_kind": [
      {"kind": "lead", "label": "A qualified lead"}, {"kind": "signup", "label": "A sign-up"},
      {"kind": "booked", "label": "A won deal"}, {"kind": "invoiced", "label": "An invoice"},
      {"kind": "collected", "label": "A payment by the customer"}, {"kind": "refunded", "label": "A refund"},
      {"kind": "sell_in", "label": "A sale to the partner"}, {"kind": "sell_out", "label": "A sale by the partner"},
      {"kind": "click", "label": "A click"}
    ],
    "ladder": [{"ladder": "main", "label": "Partner tiers"}],
    "calendar": [{"calendar": "office", "label": "Office hours", "is_default": true}],
    "calendar_hours": [
      {"calendar": "office", "weekday": 1, "opens": "09:00", "closes": "18:00"}, {"calendar": "office", "weekday": 2, "opens": "09:00", "closes": "18:00"},
      {"calendar": "office", "weekday": 3, "opens": "09:00", "closes": "18:00"}, {"calendar": "office", "weekday": 4, "opens": "09:00", "closes": "18:00"},
      {"calendar": "office", "weekday": 5, "opens": "09:00", "closes": "18:00"}
    ],
    "metric": [
      {"metric": "revenue_12m", "label": "Won revenue, last 12 months", "unit": "money", "source": "built_in", "measure": "revenue", "window_kind": "rolling_12_months", "partner_visible": true},
      {"metric": "revenue_sourced_12m", "label": "Share of won revenue it sourced, last 12 months", "unit": "money", "source": "built_in", "measure": "revenue", "credit_type": "sourced", "window_kind": "rolling_12_months", "partner_visible": true},
      {"metric": "revenue_influenced_12m", "label": "Share of won revenue it influenced, last 12 months", "unit": "money", "source": "built_in", "measure": "revenue", "credit_type": "influenced", "window_kind": "rolling_12_months", "partner_visible": true},
      {"metric": "revenue_managed_12m", "label": "Share of won revenue it manages, last 12 months", "unit": "money", "source": "built_in", "measure": "revenue", "credit_type": "managed", "window_kind": "rolling_12_months", "partner_visible": true},
      {"metric": "deals_won_12m", "label": "Deals won, last 12 months", "unit": "count", "source": "built_in", "measure": "deals_won", "window_kind": "rolling_12_months", "partner_visible": true},
      {"metric": "win_rate", "label": "Share of closed deals that were won, last 12 months", "unit": "ratio", "source": "built_in", "measure": "win_rate", "window_kind": "rolling_12_months", "partner_visible": true},
      {"metric": "average_deal", "label": "Average won deal, last 12 months", "unit": "money", "source": "built_in", "measure": "average_deal", "window_kind": "rolling_12_months", "partner_visible": true},
      {"metric": "cycle_days", "label": "Median days from creation to win of a deal, last 12 months", "unit": "days", "higher_is_better": false, "source": "built_in", "measure": "cycle_days", "window_kind": "rolling_12_months", "partner_visible": true},
      {"metric": "open_pipeline", "label": "Amount of open deals", "unit": "money", "source": "built_in", "measure": "open_pipeline", "window_kind": "point", "partner_visible": true},
      {"metric": "registrations_approved_12m", "label": "Deal registrations approved, last 12 months", "unit": "count", "source": "built_in", "measure": "registrations_approved", "window_kind": "rolling_12_months", "partner_visible": true},
      {"metric": "registrations_refused_12m", "label": "Deal registrations refused, last 12 months", "unit": "count", "higher_is_better": false, "source": "built_in", "measure": "registrations_refused", "window_kind": "rolling_12_months", "partner_visible": true},
      {"metric": "lead_acceptance", "label": "Share of its leads that it took up, last 12 months", "unit": "ratio", "source": "built_in", "measure": "lead_acceptance", "window_kind": "rolling_12_months", "partner_visible": true},
      {"metric": "return_rate", "label": "Share of qualified leads that the vendor returned, last 12 months", "unit": "ratio", "higher_is_better": false, "source": "built_in", "measure": "return_rate", "window_kind": "rolling_12_months", "partner_visible": true},
      {"metric": "response_hours", "label": "Median hours until a lead is qualified, last 12 months", "unit": "hours", "higher_is_better": false, "source": "built_in", "measure": "response_hours", "window_kind": "rolling_12_months", "partner_visible": true},
      {"metric": "certified_people", "label": "People with a valid certificate", "unit": "people", "source": "built_in", "measure": "certified_people", "window_kind": "point", "partner_visible": true},
      {"metric": "training_coverage", "label": "Share of its people with a valid certificate", "unit": "ratio", "source": "built_in", "measure": "training_coverage", "window_kind": "point", "partner_visible": true},
      {"metric": "logins_30d", "label": "Logins, last 30 days", "unit": "count", "source": "pushed", "window_kind": "point"},
      {"metric": "nps", "label": "Net promoter score of its customers", "unit": "points", "source": "pushed", "window_kind": "point"},
      {"metric": "customer_nps", "label": "Net promoter score by its customers, last 12 months", "unit": "points", "source": "built_in", "measure": "customer_nps", "window_kind": "rolling_12_months"},
      {"metric": "partner_nps", "label": "Net promoter score by its own people, last 12 months", "unit": "points", "source": "built_in", "measure": "partner_nps", "window_kind": "rolling_12_months"},
      {"metric": "customer_churn", "label": "Share of subscribed customers lost, last 12 months", "unit": "ratio", "higher_is_better": false, "source": "built_in", "measure": "customer_churn", "window_kind": "rolling_12_months", "partner_visible": true},
      {"metric": "content_use_30d", "label": "Material opened, last 30 days", "unit": "count", "source": "built_in", "measure": "content_use", "window_kind": "rolling_30_days"},
      {"metric": "key_activities_30d", "label": "Key activities in the portal, last 30 days", "unit": "count", "source": "built_in", "measure": "key_activities", "window_kind": "rolling_30_days"},
      {"metric": "active_days_30d", "label": "Days with activity in the portal, last 30 days", "unit": "count", "source": "built_in", "measure": "active_days", "window_kind": "rolling_30_days"},
      {"metric": "breaches_12m", "label": "Deadlines it let escalate, last 12 months", "unit": "count", "higher_is_better": false, "source": "built_in", "measure": "breaches", "window_kind": "rolling_12_months"},
      {"metric": "payout_disputes_12m", "label": "Disputes over its earnings, last 12 months", "unit": "count", "higher_is_better": false, "source": "built_in", "measure": "payout_disputes", "window_kind": "rolling_12_months"},
      {"metric": "conversion_gain", "label": "Gain in conversion since it joined", "unit": "ratio", "plausible_low": -1, "plausible_high": 10, "partner_enters": true, "partner_visible": true},
      {"metric": "cac_efficiency", "label": "Gross margin of new customers for each unit spent on winning them", "unit": "ratio", "plausible_low": 0, "plausible_high": 50, "partner_enters": true, "partner_visible": true},
      {"metric": "ltv", "label": "Lifetime value of a customer", "unit": "money", "plausible_low": 0, "max_change_percent": 200, "partner_enters": true, "partner_visible": true}
    ],
    "usage_activity": [
      {"activity": "login", "label": "Login", "kind": "login"}, {"activity": "content_view", "label": "Material opened", "kind": "content"},
      {"activity": "lead_registered", "label": "Lead registered", "is_key": true}, {"activity": "upload", "label": "File uploaded", "is_key": true},
      {"activity": "finance_visit", "label": "Earnings looked at", "is_key": true}, {"activity": "training_attended", "label": "Training attended", "is_key": true}
    ],
    "survey": [
      {"survey": "customer_nps", "label": "Customers about their partner", "question": "How likely are you to recommend your partner?", "asks": "customer"},
      {"survey": "partner_nps", "label": "Partners about the programme", "question": "How likely are you to recommend our partner programme?", "asks": "partner"}
    ]
  }$template$;
  the_reseller constant jsonb := $template${
    "tier": [
      {"tier": "registered", "rank": 1, "label": "Registered"}, {"tier": "certified", "rank": 2, "label": "Certified"},
      {"tier": "silver", "rank": 3, "label": "Silver"}, {"tier": "gold", "rank": 4, "label": "Gold"},
      {"tier": "platinum", "rank": 5, "label": "Platinum"}
    ],
    "tier_policy": [{"ladder": "main", "mode": "all", "promotion": "at_once", "entry_tier": "registered"}],
    "certification": [
      {"certification": "sales", "label": "Sales certificate", "valid_months": 24},
      {"certification": "technical", "label": "Technical certificate", "valid_months": 24}
    ],
    "course": [
      {"course": "sales_basics", "label": "What we sell, and to whom", "kind": "online", "hours": 4},
      {"course": "technical_basics", "label": "Installing and running it", "kind": "online", "hours": 8},
      {"course": "technical_lab", "label": "Two days in the lab", "kind": "classroom", "hours": 16}
    ],
    "exam": [{"exam": "sales", "label": "Sales exam", "pass_mark": 70}, {"exam": "technical", "label": "Technical exam", "pass_mark": 75}],
    "track": [
      {"track": "sales", "label": "Sales path", "certification": "sales"}, {"track": "technical", "label": "Technical path", "certification": "technical"}
    ],
    "track_step": [
      {"track": "sales", "position": 1, "course": "sales_basics"}, {"track": "sales", "position": 2, "exam": "sales", "is_renewal": true},
      {"track": "technical", "position": 1, "course": "technical_basics"}, {"track": "technical", "position": 2, "course": "technical_lab"},
      {"track": "technical", "position": 3, "exam": "technical", "is_renewal": true}
    ],
    "segment": [
      {"segment": "prospect", "label": "Prospects", "criteria": "$.partner.state == \"applicant\"", "position": 1},
      {"segment": "newcomer", "label": "In the first 90 days", "criteria": "$.partner.days_joined <= 90 && $.partner.state == \"active\"", "touch_model": "pooled", "position": 2},
      {"segment": "top_seller", "label": "Top sellers", "criteria": "$.metrics.revenue_12m >= 100000", "touch_model": "high", "position": 3},
      {"segment": "untrained", "label": "Nobody certified", "criteria": "$.metrics.certified_people == 0 && $.partner.state == \"active\"", "position": 4},
      {"segment": "in_trouble", "label": "Health is red", "criteria": "$.health.band == \"red\"", "position": 5},
      {"segment": "handpicked", "label": "Set by hand", "position": 6}
    ],
    "ipp_model": [{"model": "standard", "version": 1, "label": "What good resellers bring along"}],
    "ipp_criterion": [
      {"criterion": "sales_people", "label": "At least three people in sales", "criteria": "$.partner.attributes.sales_people >= 3", "weight": 3, "position": 1},
      {"criterion": "technical_people", "label": "At least two technicians", "criteria": "$.partner.attributes.technical_people >= 2", "weight": 2, "position": 2},
      {"criterion": "own_customers", "label": "At least fifty customers of its own", "criteria": "$.partner.attributes.customers >= 50", "weight": 2, "position": 3},
      {"criterion": "own_domain", "label": "A domain of its own", "criteria": "exists($.partner.domain)", "weight": 1, "position": 4}
    ],
    "tier_requirement": [
      {"tier": "certified", "metric": "certified_people", "threshold": 1},
      {"tier": "silver", "metric": "certified_people", "threshold": 1},
      {"tier": "silver", "metric": "revenue_12m", "threshold": 25000, "keep_threshold": 20000},
      {"tier": "gold", "metric": "certified_people", "threshold": 2},
      {"tier": "gold", "metric": "revenue_12m", "threshold": 100000, "keep_threshold": 80000},
      {"tier": "gold", "metric": "deals_won_12m", "threshold": 5},
      {"tier": "platinum", "metric": "certified_people", "threshold": 4},
      {"tier": "platinum", "metric": "revenue_12m", "threshold": 250000, "keep_threshold": 200000},
      {"tier": "platinum", "metric": "deals_won_12m", "threshold": 10}
    ],
    "benefit": [
      {"tier": "registered", "benefit": "discount_percent", "kind": "discount", "value": "5", "label": "Discount on list prices"},
      {"tier": "certified", "benefit": "discount_percent", "kind": "discount", "value": "10", "label": "Discount on list prices"},
      {"tier": "silver", "benefit": "discount_percent", "kind": "discount", "value": "15", "label": "Discount on list prices"},
      {"tier": "silver", "benefit": "support_level", "kind": "support_level", "value": "business hours", "label": "Technical support"},
      {"tier": "gold", "benefit": "discount_percent", "kind": "discount", "value": "20", "label": "Discount on list prices"},
      {"tier": "gold", "benefit": "support_level", "kind": "support_level", "value": "dedicated", "label": "Technical support"},
      {"tier": "gold", "benefit": "mdf_percent", "kind": "mdf_share", "value": "1", "label": "Marketing funds, share of revenue"},
      {"tier": "platinum", "benefit": "discount_percent", "kind": "discount", "value": "25", "label": "Discount on list prices"},
      {"tier": "platinum", "benefit": "support_level", "kind": "support_level", "value": "dedicated", "label": "Technical support"},
      {"tier": "platinum", "benefit": "mdf_percent", "kind": "mdf_share", "value": "2", "label": "Marketing funds, share of revenue"}
    ],
    "health_model": [{"model": "standard", "label": "Standard health"}],
    "health_metric": [
      {"model": "standard", "metric": "revenue_12m", "group_name": "performance", "group_weight": 60, "weight": 40, "how": "linear", "low": 0, "high": 100000},
      {"model": "standard", "metric": "win_rate", "group_name": "performance", "group_weight": 60, "weight": 30, "how": "linear", "low": 0, "high": 0.7},
      {"model": "standard", "metric": "response_hours", "group_name": "performance", "group_weight": 60, "weight": 30, "how": "inverse", "low": 0, "high": 96},
      {"model": "standard", "metric": "certified_people", "group_name": "relationship", "aspect": "relationship", "group_weight": 40, "weight": 40, "how": "linear", "low": 0, "high": 4},
      {"model": "standard", "metric": "logins_30d", "group_name": "relationship", "aspect": "relationship", "group_weight": 40, "weight": 30, "how": "linear", "low": 0, "high": 20},
      {"model": "standard", "metric": "nps", "group_name": "relationship", "aspect": "relationship", "group_weight": 40, "weight": 30, "how": "linear", "low": -100, "high": 100}
    ],
    "health_band": [
      {"model": "standard", "band": "red", "lower": 0, "rank": 1}, {"model": "standard", "band": "yellow", "lower": 40, "rank": 2},
      {"model": "standard", "band": "green", "lower": 70, "rank": 3}
    ],
    "commission_plan": [{"name": "Reseller commission", "earn_on": "booked", "pay_on": "earned", "hold_days": 30, "clawback_days": 180}],
    "commission_rule": [
      {"plan": "Reseller commission", "label": "Everybody", "schedule": "marginal 0: 5%, 10000: 6%, 50000: 8%"},
      {"plan": "Reseller commission", "label": "Silver", "tier": "silver", "schedule": "marginal 0: 6%, 10000: 7%, 50000: 9%"},
      {"plan": "Reseller commission", "label": "Gold", "tier": "gold", "schedule": "marginal 0: 8%, 10000: 9%, 50000: 10%"},
      {"plan": "Reseller commission", "label": "Platinum", "tier": "platinum", "schedule": "10%"},
      {"plan": "Reseller commission", "label": "Renewals", "deal_kind": "renewal", "schedule": "3%"}
    ],
    "mdf_fund": [{"name": "Joint marketing", "share": 0.5, "claim_days": 60, "carry_over": "none"}],
    "account_map": [
      {"kind": "*", "debit": "commission expense", "credit": "payable to partners"},
      {"kind": "mdf", "debit": "marketing expense", "credit": "payable to partners"},
      {"kind": "tax", "debit": "taxes", "credit": "payable to partners"},
      {"kind": "royalty", "debit": "receivable from partners", "credit": "royalty income"},
      {"kind": "fee", "debit": "receivable from partners", "credit": "fee income"},
      {"kind": "payout", "debit": "payable to partners", "credit": "bank"},
      {"kind": "payout_fee", "debit": "payable to partners", "credit": "bank charges"}
    ],
    "escalation_role": [
      {"machine": "lead", "level": 1, "role": "channel_manager", "label": "Channel manager"},
      {"machine": "lead", "level": 2, "role": "channel_director", "label": "Channel director"}
    ],
    "risk_rule": [
      {"risk_rule": "self_referral", "label": "The buyer is the partner itself", "kind": "self_referral", "is_active": false},
      {"risk_rule": "duplicate_account", "label": "Same tax number or bank account as another partner", "kind": "duplicate_account", "parameters": {"match": ["tax_id", "bank"]}},
      {"risk_rule": "network_ban", "label": "The same as a banned partner", "kind": "network_ban", "expires_after_days": null},
      {"risk_rule": "velocity", "label": "Too many sales at once", "kind": "velocity", "action": "flag", "parameters": {"events": 100, "within": "1 day"}, "is_active": false},
      {"risk_rule": "paid_traffic", "label": "Customers that came by advertisements", "kind": "paid_traffic", "is_active": false},
      {"risk_rule": "banned_source", "label": "Sources that do not count", "kind": "banned_source", "parameters": {"sources": ["coupon site"]}, "is_active": false}
    ],
    "tax_rule": [
      {"tax_rule": "reverse_charge", "label": "Reverse charge", "note": "Reverse charge: the recipient of the service owes the value added tax"},
      {"tax_rule": "exempt", "label": "Exempt", "note": "Exempt from value added tax"}
    ],
    "outbox_rule": [
      {"source": "lead", "event": "return", "event_type": "lead.returned", "fields": ["company", "contact_name", "partner_id"]},
      {"source": "lead", "event": "approve", "event_type": "lead.approved", "fields": ["company", "contact_name", "partner_id"]},
      {"source": "deal", "to_state": "won", "event_type": "deal.won", "fields": ["name", "partner_id", "customer_id", "amount", "currency"]},
      {"source": "tier", "event_type": "tier.changed", "fields": ["partner_id", "ladder", "from_tier", "to_tier", "reason"]}
    ]
  }$template$;
BEGIN
  IF _template.template = 'blank' THEN
    RETURN the_basis;
  ELSIF _template.template = 'reseller' THEN
    RETURN the_basis || the_reseller;
  END IF;
  RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('there is no template "%s"', _template.template),
    DETAIL = 'The templates are reseller and blank.', HINT = 'SELECT prm.create_program(''My channel'', ''reseller'').';
END
$prm$;
COMMENT ON FUNCTION prm._template(text) IS 'The configuration that create_program() begins with: blank (machines, kinds, metrics) or reseller (tiers, benefits, health, commission plan and messages as well). Error 22023 for another name.';
