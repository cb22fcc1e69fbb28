/*
 * earning_credit.c: what was sold on the events of a run, and who is credited with which share of it. Called by earning_fact.c,
 * in whose manner everything is read.
 */
#include "earning.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "decimal.h"
#include "earning_fact.h"

static SPIPlanPtr credits_plan = NULL;
static SPIPlanPtr deal_credits_plan = NULL;
static SPIPlanPtr products_plan = NULL;

static const char *const credits_query =
	"SELECT i.place, c.credit_type, c.revision, c.partner_id, c.weight FROM unnest($2) WITH ORDINALITY AS i(id, place)"
	" CROSS JOIN LATERAL (SELECT * FROM prm.sales_credit t WHERE t.program_id = $1 AND t.earning_event_id >= i.id"
	"   AND t.earning_event_id <= i.id ORDER BY t.earning_event_id OFFSET 0) c";

static const char *const deal_credits_query =
	"SELECT i.place, c.credit_type, 1, c.partner_id, c.weight FROM unnest($2) WITH ORDINALITY AS i(id, place)"
	" CROSS JOIN LATERAL (SELECT * FROM prm.deal_partner t WHERE t.program_id = $1 AND t.deal_id >= i.id AND t.deal_id <= i.id"
	"   ORDER BY t.deal_id OFFSET 0) c";

static const char *const products_query =
	"SELECT p.product, p.parent, p.family, p.commissionable FROM unnest($2) AS i(name)"
	" CROSS JOIN LATERAL (SELECT * FROM prm.product t WHERE t.program_id = $1 AND t.product >= i.name AND t.product <= i.name"
	"   ORDER BY t.product OFFSET 0) p";

/* ---- products --------------------------------------------------------------------------------------------------------- */

#define CHAIN_OF_PRODUCTS 10 /* a product and at most so many of its parents but one */

typedef struct Product
{
	char *name;
	char *parent;
	char *family;
	bool commissionable;
	bool found;
} Product;

typedef struct ProductEntry
{
	uint64 hash; /* key: of the name */
	List *products;
} ProductEntry;

typedef struct Products
{
	HTAB *index;
	List *asked_for; /* those that are not yet read */
} Products;

static Product *
product_of(Products *products, char *name)
{
	uint64 hash = hash_bytes_extended((unsigned char *) name, strlen(name), 0);
	bool found;
	ProductEntry *entry = hash_search(products->index, &hash, HASH_ENTER, &found);
	Product *product;
	ListCell *cell;

	if (!found)
		entry->products = NIL;
	foreach (cell, entry->products)
	{
		product = lfirst(cell);
		if (strcmp(product->name, name) == 0)
			return product;
	}
	product = palloc0(sizeof(Product));
	product->name = name;
	entry->products = lappend(entry->products, product);
	products->asked_for = lappend(products->asked_for, product);
	return product;
}

static void
read_products(PrmEarningRun *run, Products *products)
{
	static const Oid types[2] = {INT8OID, TEXTARRAYOID};

	for (int round = 0; round < CHAIN_OF_PRODUCTS && products->asked_for != NIL; round++)
	{
		Datum *names = palloc(sizeof(Datum) * list_length(products->asked_for));
		Datum values[2];
		int count = 0;
		List *parents = NIL;
		ListCell *cell;

		foreach (cell, products->asked_for)
			names[count++] = CStringGetTextDatum(((Product *) lfirst(cell))->name);
		products->asked_for = NIL;
		values[0] = Int64GetDatum(run->program_id);
		values[1] = PointerGetDatum(construct_array(names, count, TEXTOID, -1, false, TYPALIGN_INT));
		prm_fact_read(run, prm_earning_plan(&products_plan, products_query, 2, types), values);
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			char *words[4] = {NULL};
			bool isnull;
			Product *product = product_of(products, prm_fact_word(i, 1, &words[1]));

			product->found = true;
			product->parent = prm_fact_word(i, 2, &words[2]);
			product->family = prm_fact_word(i, 3, &words[3]);
			product->commissionable = DatumGetBool(prm_fact_value(i, 4, &isnull));
			if (product->parent != NULL)
				parents = lappend(parents, product->parent);
		}
		SPI_freetuptable(SPI_tuptable);
		foreach (cell, parents)
			(void) product_of(products, lfirst(cell));
	}
}

/* Variant -> product -> family, from the product that was sold upwards. */
static void
climb_products(PrmEvent *event, Products *products)
{
	Product *product = product_of(products, event->product);

	event->commissionable = !product->found || product->commissionable;
	for (int i = 0; i < CHAIN_OF_PRODUCTS && product->found; i++)
	{
		event->products = lappend(event->products, product->name);
		if (product->family != NULL)
			event->families = lappend(event->families, product->family);
		if (product->parent == NULL)
			break;
		product = product_of(products, product->parent);
	}
}

/* The products of all events, and which of them earn no commission. */
void
prm_earning_products(PrmEarningRun *run)
{
	HASHCTL info = {0};
	Products products = {0};
	PrmEvent *last = NULL;
	ListCell *cell;

	foreach (cell, run->events)
	{
		PrmEvent *event = lfirst(cell);

		if (event->product == NULL || !event->is_earning)
			continue;
		if (products.index == NULL)
		{
			info.keysize = sizeof(uint64);
			info.entrysize = sizeof(ProductEntry);
			info.hcxt = run->context;
			products.index = hash_create("prm products of a run", 64, &info, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		}
		(void) product_of(&products, event->product);
	}
	if (products.index == NULL)
		return;
	read_products(run, &products);
	foreach (cell, run->events)
	{
		PrmEvent *event = lfirst(cell);

		if (event->product == NULL || !event->is_earning)
			continue;
		if (last != NULL && strcmp(last->product, event->product) == 0)
		{
			event->commissionable = last->commissionable;
			event->products = last->products;
			event->families = last->families;
		}
		else
			climb_products(event, &products);
		last = event;
	}
}

/* ---- credits ---------------------------------------------------------------------------------------------------------- */

static int
by_credit(const ListCell *a, const ListCell *b)
{
	const PrmCredit *left = lfirst(a);
	const PrmCredit *right = lfirst(b);
	int order = strcmp(left->credit_type, right->credit_type);

	if (order != 0)
		return order;
	if (left->revision != right->revision)
		return left->revision > right->revision ? -1 : 1;
	return left->partner_id < right->partner_id ? -1 : left->partner_id > right->partner_id;
}

static void
read_credits(PrmEarningRun *run, const List *events)
{
	static const Oid types[2] = {INT8OID, INT8ARRAYOID};
	SPIPlanPtr plan = run->mode == PRM_EARNING_DEAL ? prm_earning_plan(&deal_credits_plan, deal_credits_query, 2, types)
													: prm_earning_plan(&credits_plan, credits_query, 2, types);

	for (int start = 0; start < list_length(events); start += PRM_FACT_SLICE)
	{
		char *last = NULL;
		Datum values[2];

		values[0] = Int64GetDatum(run->program_id);
		values[1] = prm_fact_event_ids(events, start, PRM_FACT_SLICE);
		prm_fact_read(run, plan, values);
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			PrmEvent *event = list_nth(events, start + (int) prm_fact_id(i, 1) - 1);
			PrmCredit *credit = palloc0(sizeof(PrmCredit));
			bool isnull;

			credit->event = event;
			credit->credit_type = prm_fact_word(i, 2, &last);
			credit->revision = DatumGetInt32(prm_fact_value(i, 3, &isnull));
			credit->partner_id = prm_fact_id(i, 4);
			credit->weight = PointerGetDatum(PG_DETOAST_DATUM_COPY(prm_fact_value(i, 5, &isnull)));
			event->credits = lappend(event->credits, credit);
		}
		SPI_freetuptable(SPI_tuptable);
	}
}

/* The share of each of a team in one measure: by weight, the largest remainder first, so that they sum to the whole. */
static void
deal_shares(List *team, PrmMoney whole, PrmMeasure measure, int least_digits)
{
	Datum *weights = palloc(sizeof(Datum) * list_length(team));
	Datum *shares;
	bool *nulls;
	int count = 0;
	int digits;
	ListCell *cell;

	if (!whole.given)
		return;
	foreach (cell, team)
		weights[count++] = ((PrmCredit *) lfirst(cell))->weight;
	digits = DatumGetInt32(DirectFunctionCall1(numeric_scale, prm_numeric_trim(whole.value)));
	deconstruct_array(DatumGetArrayTypeP(DirectFunctionCall3(
						  prm_allocate, whole.value,
						  PointerGetDatum(construct_array(weights, count, NUMERICOID, -1, false, TYPALIGN_INT)),
						  Int32GetDatum(Max(digits, least_digits)))),
					  NUMERICOID, -1, false, TYPALIGN_INT, &shares, &nulls, &count);
	foreach (cell, team)
	{
		PrmMoney *share = &((PrmCredit *) lfirst(cell))->share[measure];

		share->value = shares[foreach_current_index(cell)];
		share->given = true;
	}
}

static void
set_shares(PrmEvent *event, List *team)
{
	PrmCredit *first = linitial(team);
	int64 units;

	if (prm_numeric_units(first->weight, &units) && units == 1000000)
	{
		memcpy(first->share, event->share, sizeof(first->share));
		return;
	}
	for (int measure = 0; measure < PRM_SHARES; measure++)
		deal_shares(team, event->share[measure], measure,
					measure == PRM_MEASURE_QUANTITY
						? 4
						: DatumGetInt32(DirectFunctionCall1(prm_minor_units, CStringGetTextDatum(event->currency))));
}

/* The latest revision of each credit type counts; without any credits the event's own partner has it all. */
static void
set_credits(PrmEvent *event)
{
	List *valid = NIL;
	List *team = NIL;
	PrmCredit *leader = NULL;
	ListCell *cell;

	if (event->credits == NIL && event->partner_id != 0)
	{
		PrmCredit *credit = palloc0(sizeof(PrmCredit));

		credit->event = event;
		credit->credit_type = "sourced";
		credit->partner_id = event->partner_id;
		credit->weight = prm_numeric_int(100);
		memcpy(credit->share, event->share, sizeof(credit->share));
		event->credits = list_make1(credit);
		return;
	}
	list_sort(event->credits, by_credit);
	foreach (cell, event->credits)
	{
		PrmCredit *credit = lfirst(cell);

		if (leader != NULL && strcmp(leader->credit_type, credit->credit_type) != 0)
		{
			if (team != NIL)
				set_shares(event, team);
			team = NIL;
			leader = NULL;
		}
		if (leader == NULL)
			leader = credit;
		/* A revision of weight 0 withdraws the type. */
		if (credit->revision != leader->revision || prm_numeric_sign(credit->weight) == 0)
			continue;
		team = lappend(team, credit);
		valid = lappend(valid, credit);
	}
	if (team != NIL)
		set_shares(event, team);
	event->credits = valid;
}

/* The credits of events on which some plan earns. */
void
prm_earning_credits(PrmEarningRun *run, const List *events)
{
	ListCell *cell;

	read_credits(run, events);
	foreach (cell, events)
		set_credits(lfirst(cell));
}
