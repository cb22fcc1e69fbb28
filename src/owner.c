/*
 * owner.c: acting with the rights of the model's owner.
 *
 * Owns the pair prm_enter_owner / prm_leave_owner (and prm_enter_owner_rights, which leaves the search_path alone), which surrounds every SPI call of the library that must write where the
 * caller may not (history, ledger) or read past the caller's rights (definitions). One schema has one owner, and install()
 * lets nobody else make the model, so the owner of schema prm is the owner of every model table.
 *
 * The hazards: SECURITY_LOCAL_USERID_CHANGE keeps SET ROLE and the like out of what runs inside; SECURITY_NOFORCE_RLS keeps
 * a FORCEd policy from hiding the definitions from their owner (all transitions would look illegal); the search_path is
 * pinned because SPI text is parsed under it with the owner's rights. After an error the abort of the (sub)transaction
 * restores user and settings, so there is no PG_TRY here.
 */
#include "prm.h"

#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/* The schema and its owner, kept until pg_namespace says that one of its rows changed. */
static Oid known_schema = InvalidOid;
static Oid known_owner = InvalidOid;

static void
namespace_changed(Datum arg, int cache, uint32 hash)
{
	known_schema = known_owner = InvalidOid;
}

static void
watch_namespaces(void)
{
	static bool registered = false;

	if (registered)
		return;
	CacheRegisterSyscacheCallback(NAMESPACEOID, namespace_changed, (Datum) 0);
	registered = true;
}

Oid
prm_schema_oid(void)
{
	Oid schema = known_schema;

	if (likely(OidIsValid(schema)))
		return schema;
	watch_namespaces();
	schema = known_schema = get_namespace_oid("prm", true);
	if (!OidIsValid(schema))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("schema \"prm\" does not exist"),
						errdetail("The schema of the extension was renamed or dropped."),
						errhint("Rename it back with ALTER SCHEMA ... RENAME TO prm.")));
	return schema;
}

Oid
prm_model_owner(void)
{
	Oid schema = prm_schema_oid();
	HeapTuple tuple;
	Oid owner;

	if (likely(OidIsValid(known_owner)))
		return known_owner;
	tuple = SearchSysCache1(NAMESPACEOID, ObjectIdGetDatum(schema));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for schema prm");
	owner = ((Form_pg_namespace) GETSTRUCT(tuple))->nspowner;
	ReleaseSysCache(tuple);
	if (OidIsValid(known_schema))
		known_owner = owner;
	return owner;
}

/* The OID of a table of the model, by its logical name. */
Oid
prm_model_relation(const char *name, bool missing_ok)
{
	Oid relation = get_relname_relid(name, prm_schema_oid());

	if (!OidIsValid(relation) && !missing_ok)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the prm model is not installed in this database"),
						errdetail("Table prm.%s does not exist.", name),
						errhint("Run SELECT prm.install() as the owner of schema prm.")));
	return relation;
}

/* The rights alone, under the caller's search_path: only for statements of which machine_plain.c knows that it has no say. */
void
prm_enter_owner_rights(PrmOwnerScope *scope)
{
	GetUserIdAndSecContext(&scope->user, &scope->security_context);
	SetUserIdAndSecContext(prm_model_owner(),
						   scope->security_context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);
	scope->guc_level = 0;
}

void
prm_enter_owner(PrmOwnerScope *scope)
{
	prm_enter_owner_rights(scope);
	scope->guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
							 false);
}

void
prm_leave_owner(PrmOwnerScope *scope)
{
	if (scope->guc_level != 0)
		AtEOXact_GUC(true, scope->guc_level);
	SetUserIdAndSecContext(scope->user, scope->security_context);
}
