/*
 * machine_context.c: the contexts in which the machine trigger judges otherwise: a fired event, a hook of the library, a
 * historical import, a migration to another version. Owns prm._import_context(), prm._migration_context() and the variables
 * behind the four.
 *
 * They are plain variables of the backend and no settings, so no client can set them. The first two are set and restored by
 * the C function that needs them, around one statement. The import and the migration last to the end of the subtransaction that asked for it
 * (an abort ends it like a commit), and only for the role that asked, so that SET ROLE leaves it.
 */
#include "machine.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

PrmFiring *prm_firing = NULL;
const char *prm_hook_actor = NULL;

static SubTransactionId import_subtransaction = InvalidSubTransactionId;
static Oid import_role = InvalidOid;
static SubTransactionId migration_subtransaction = InvalidSubTransactionId;
static Oid migration_role = InvalidOid;
static PrmMigration migration;
static bool callbacks_registered = false;

static void
subtransaction_ended(SubXactEvent event, SubTransactionId own, SubTransactionId parent, void *arg)
{
	if ((event == SUBXACT_EVENT_COMMIT_SUB || event == SUBXACT_EVENT_ABORT_SUB) && own == import_subtransaction)
		import_subtransaction = InvalidSubTransactionId;
	if ((event == SUBXACT_EVENT_COMMIT_SUB || event == SUBXACT_EVENT_ABORT_SUB) && own == migration_subtransaction)
		migration_subtransaction = InvalidSubTransactionId;
}

static void
transaction_ended(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		import_subtransaction = migration_subtransaction = InvalidSubTransactionId;
}

static void
register_callbacks(void)
{
	if (callbacks_registered)
		return;
	RegisterSubXactCallback(subtransaction_ended, NULL);
	RegisterXactCallback(transaction_ended, NULL);
	callbacks_registered = true;
}

bool
prm_importing(void)
{
	return unlikely(import_subtransaction != InvalidSubTransactionId) && import_role == GetUserId();
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_import_context);

Datum
prm_import_context(PG_FUNCTION_ARGS)
{
	Oid role = GetUserId();

	if (!has_privs_of_role(role, prm_model_owner()) && !prm_has_profile(role, "admin"))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("role \"%s\" may not record historical states", GetUserNameFromId(role, false)),
						errdetail("An import records states and dates as given, without the path that led there."),
						errhint("Let the owner of schema prm run the import, or a role with the profile admin "
								"(prm.grant_access).")));
	register_callbacks();
	/* An import around this one goes on until its own end. */
	if (import_subtransaction == InvalidSubTransactionId || import_role != role)
	{
		import_subtransaction = GetCurrentSubTransactionId();
		import_role = role;
	}
	PG_RETURN_VOID();
}

/* The migration of this machine's rows that the present role has under way; NULL: none. */
const PrmMigration *
prm_migrating(const char *machine)
{
	if (likely(migration_subtransaction == InvalidSubTransactionId) || migration_role != GetUserId() ||
		strcmp(migration.machine, machine) != 0)
		return NULL;
	return &migration;
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_migration_context);

/* prm._migration_context(machine, version, program_id); version 0 ends it. */
Datum
prm_migration_context(PG_FUNCTION_ARGS)
{
	Oid role = GetUserId();

	if (PG_GETARG_INT32(1) == 0)
	{
		migration_subtransaction = InvalidSubTransactionId;
		PG_RETURN_VOID();
	}
	if (!has_privs_of_role(role, prm_model_owner()) && !prm_has_profile(role, "admin"))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("role \"%s\" may not move rows to another version of a machine", GetUserNameFromId(role, false)),
						errdetail("A migration sets states without an event."),
						errhint("Let the owner of schema prm do it, or a role with the profile admin (prm.grant_access).")));
	register_callbacks();
	migration_subtransaction = GetCurrentSubTransactionId();
	migration_role = role;
	strlcpy(migration.machine, text_to_cstring(PG_GETARG_TEXT_PP(0)), NAMEDATALEN);
	migration.version = PG_GETARG_INT32(1);
	migration.program_id = PG_GETARG_INT64(2);
	PG_RETURN_VOID();
}
