/*
 * definitions.c: tells backends that a definition table changed.
 *
 * Relcache callbacks do not fire on DML, so each definition table that a backend caches (programmes, machines, logins, outbox
 * rules ...) carries the statement trigger prm_definition_changed, ENABLE ALWAYS so that logical replication fires it too. It
 * invalidates the relcache entry of one anchor, the table prm.program, by its logical OID. That message is transactional:
 * other sessions get it at commit, the own transaction at the next command, and an abort replays it, so a rolled-back change
 * is never seen. The callback only counts a generation up; whoever caches compares generations and rebuilds. So does a change of
 * roles and their members, on which profiles depend.
 *
 * Two hazards. A cache that was built under REPEATABLE READ or SERIALIZABLE comes from an old snapshot and the message that
 * would have outdated it may already have been consumed, so it must not outlive its transaction: prm_definitions_loaded()
 * remembers that, and the end of the transaction counts up. And a session that sits in an open transaction with all its locks
 * taken receives no messages by itself, so triggers call AcceptInvalidationMessages() first.
 */
#include "prm.h"

#include "access/xact.h"
#include "commands/trigger.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/syscache.h"

static uint64 generation = 1;
static Oid anchor = InvalidOid;
static bool registered = false;
static bool built_from_old_snapshot = false;

/* Called for every relation of the database; it only counts. */
static void
relation_changed(Datum arg, Oid relation)
{
	if (!OidIsValid(relation) || relation == anchor)
		generation++;
}

/* Who is a member of which role decides who may act for partners, so it is a definition, too. */
static void
roles_changed(Datum arg, int cache, uint32 hash)
{
	generation++;
}

static void
transaction_ended(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PARALLEL_ABORT:
			if (built_from_old_snapshot)
			{
				generation++;
				built_from_old_snapshot = false;
			}
			break;
		default:
			break;
	}
}

/*
 * The present generation. Finding the anchor costs a catalog lookup, so it is looked up only while it is unknown and again
 * by each load (prm_definitions_loaded), which also follows a model that was dropped and installed anew.
 */
uint64
prm_definition_generation(void)
{
	if (!registered)
	{
		CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, roles_changed, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHOID, roles_changed, (Datum) 0);
		RegisterXactCallback(transaction_ended, NULL);
		registered = true;
	}
	if (!OidIsValid(anchor))
		anchor = prm_model_relation("program", true);
	return generation;
}

/*
 * To be called by each load, before its first query. A loader takes the generation first and stores it with its cache, so a
 * message that arrives during the load makes the cache stale at once instead of being lost.
 */
void
prm_definitions_loaded(void)
{
	anchor = prm_model_relation("program", false);
	if (IsolationUsesXactSnapshot())
		built_from_old_snapshot = true;
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_definition_changed);

/*
 * CREATE TRIGGER ... AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON prm.<definition table> FOR EACH STATEMENT
 * EXECUTE FUNCTION prm.definition_changed();
 */
Datum
prm_definition_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("prm.definition_changed() can only be called as a trigger"),
						errdetail("It tells every backend that a definition table changed."),
						errhint("Use it in CREATE TRIGGER ... EXECUTE FUNCTION prm.definition_changed().")));
	CacheInvalidateRelcacheByRelid(prm_model_relation("program", false));
	PG_RETURN_POINTER(NULL);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_plans_outdated);

/*
 * The plans that this backend keeps over the tables of the model (of functions, of the checks of foreign keys) are made anew.
 * Plans made while the tables were empty may read a whole programme for each row, and in one long transaction nothing else
 * ever tells them that the tables have grown.
 */
Datum
prm_plans_outdated(PG_FUNCTION_ARGS)
{
	static const char *const grown[] = {"partner", "customer", "product", "lead", "deal", "earning_event", "ledger"};

	for (int i = 0; i < lengthof(grown); i++)
		CacheInvalidateRelcacheByRelid(prm_model_relation(grown[i], false));
	PG_RETURN_VOID();
}
