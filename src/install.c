/*
 * install.c: which versions meet in this session. Owns version(), the once-per-session check that library, extension and
 * model fit together, and the test of who may run install().
 *
 * The check is for API functions only, never for triggers, type functions or defaults: those must work while a dump is
 * restored and in the window between the new library and the new model.
 */
#include "prm.h"

#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/syscache.h"

static bool model_fits = false;
static bool callbacks_registered = false;

static void
catalog_changed(Datum arg, int cache_id, uint32 hash_value)
{
	model_fits = false;
}

static void
any_relation_changed(Datum arg, Oid relation)
{
	if (!OidIsValid(relation))
		model_fits = false;
}

/* Runs a query without parameters as the owner and returns its single text, or NULL. */
static char *
single_value(const char *query)
{
	PrmOwnerScope scope;
	MemoryContext caller = CurrentMemoryContext;
	char *result = NULL;

	prm_enter_owner(&scope);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute(query, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "query failed: %s", query);
	if (SPI_processed > 0)
	{
		char *value = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);

		if (value != NULL)
			result = MemoryContextStrdup(caller, value);
	}
	SPI_finish();
	prm_leave_owner(&scope);
	return result;
}

/* Raises the one clear error where library, extension and model do not fit. About 1 ms once per session, then nothing. */
void
prm_require_model(void)
{
	char *extension_version;
	char *step;

	if (likely(model_fits))
		return;
	if (!callbacks_registered)
	{
		CacheRegisterSyscacheCallback(PROCOID, catalog_changed, (Datum) 0);
		CacheRegisterRelcacheCallback(any_relation_changed, (Datum) 0);
		callbacks_registered = true;
	}
	/* Set first: a message that arrives during the queries below must be able to clear it. */
	model_fits = true;

	extension_version = single_value("SELECT e.extversion FROM pg_catalog.pg_extension e"
									 " WHERE e.extname OPERATOR(pg_catalog.=) 'prm'");
	if (extension_version == NULL || strcmp(extension_version, PRM_VERSION) != 0)
	{
		model_fits = false;
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("prm library is version %s but extension \"prm\" is version %s", PRM_VERSION,
							   extension_version ? extension_version : "none"),
						errdetail("The library in this session and the objects in this database come from different releases."),
						errhint("Reconnect if this session is older than the upgrade; otherwise run ALTER EXTENSION prm UPDATE.")));
	}
	if (!OidIsValid(prm_model_relation("model", true)) || !OidIsValid(prm_model_relation("program", true)))
	{
		model_fits = false;
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("the prm model is not installed in this database"),
				 errdetail("The extension is here, its tables are not."),
				 errhint("Run SELECT prm.install() as the owner of schema prm.")));
	}
	step = single_value("SELECT pg_catalog.max(m.step) FROM prm.model m");
	if (step == NULL || atoi(step) != PRM_STEPS)
	{
		model_fits = false;
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the prm model is at step %s but extension version %s needs step %d", step ? step : "0", PRM_VERSION,
						PRM_STEPS),
				 errdetail("The tables were made by another release of the code."),
				 errhint("Run SELECT prm.install() as the owner of schema prm.")));
	}
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_ready);

Datum
prm_ready(PG_FUNCTION_ARGS)
{
	prm_require_model();
	PG_RETURN_VOID();
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_library_version);

Datum
prm_library_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(PRM_VERSION));
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_library_steps);

Datum
prm_library_steps(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(PRM_STEPS);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_check_installer);

/*
 * Inside an extension's script every object that is made becomes a member of that extension, and would be dropped with it;
 * and a second owner in the schema could never replace what the first one made.
 */
Datum
prm_check_installer(PG_FUNCTION_ARGS)
{
	if (creating_extension)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the prm model cannot be installed or dropped inside an extension script"),
						errdetail("Its tables would become members of that extension."),
						errhint("Run SELECT prm.install() after the extension was created.")));
	if (GetUserId() != prm_model_owner())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("only the owner of schema \"prm\" may do this"),
				 errdetail("Schema prm belongs to role \"%s\", you are \"%s\".", GetUserNameFromId(prm_model_owner(), false),
						   GetUserNameFromId(GetUserId(), false)),
				 errhint("SET ROLE to that role, or ALTER SCHEMA prm OWNER TO another one before the model is installed.")));
	PG_RETURN_VOID();
}
