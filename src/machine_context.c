/*
 * machine_context.c: the contexts in which the machine trigger judges otherwise: a fired event, a hook of the library, a
 * historical import. Owns prm._import_context() and the variables behind the three.
 *
 * They are plain variables of the backend and no settings, so no client can set them. The first two are set and restored by
 * the C function that needs them, around one statement. The import lasts to the end of the subtransaction that asked for it
 * (an abort ends it like a commit), and only for the role that asked, so that SET ROLE leaves it.
 */
#include "machine.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/acl.h"

PrmFiring *prm_firing = NULL;
const char *prm_hook_actor = NULL;

static SubTransactionId import_subtransaction = InvalidSubTransactionId;
static Oid import_role = InvalidOid;
static bool callbacks_registered = false;

static void
subtransaction_ended(SubXactEvent event, SubTransactionId own, SubTransactionId parent, void *arg)
{
	if ((event == SUBXACT_EVENT_COMMIT_SUB || event == SUBXACT_EVENT_ABORT_SUB) && own == import_subtransaction)
		import_subtransaction = InvalidSubTransactionId;
}

static void
transaction_ended(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		import_subtransaction = InvalidSubTransactionId;
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
	if (!callbacks_registered)
	{
		RegisterSubXactCallback(subtransaction_ended, NULL);
		RegisterXactCallback(transaction_ended, NULL);
		callbacks_registered = true;
	}
	/* An import around this one goes on until its own end. */
	if (import_subtransaction == InvalidSubTransactionId || import_role != role)
	{
		import_subtransaction = GetCurrentSubTransactionId();
		import_role = role;
	}
	PG_RETURN_VOID();
}
