/*
 * session.c: who acts, when, and in which programme. Owns prm.now(), prm.current_program(), prm.current_partner() and
 * prm.current_actor(), and the backend's list of programmes.
 *
 * Everything here is STABLE: the functions are column defaults, and a VOLATILE default would turn off COPY's multi-insert.
 * A setting that anybody can set is no boundary, so prm.partner_id counts only for roles that may act for any partner, and
 * prm.clock only when the session's user is a superuser or owns the schema.
 */
#include "prm.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

/* ---- when ---------------------------------------------------------------------------------------------------------- */

TimestampTz
prm_current_time(void)
{
	if (prm_setting_clock_given)
	{
		Oid session_user = GetSessionUserId();

		if (superuser_arg(session_user) || has_privs_of_role(session_user, prm_model_owner()))
			return prm_setting_clock_time;
	}
	return GetCurrentTransactionStartTimestamp();
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_now);

Datum
prm_now(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(prm_current_time());
}

/* ---- the list of programmes ---------------------------------------------------------------------------------------- */

static HTAB *programs = NULL;
static MemoryContext programs_context = NULL;
static uint64 programs_generation = 0;
static int64 only_program = 0; /* the programme, where there is exactly one */
static int64 program_count = 0;

static void
load_programs(void)
{
	HASHCTL info = {0};
	uint64 new_generation = prm_definition_generation();
	PrmOwnerScope scope;
	MemoryContext fresh;
	HTAB *table;

	prm_definitions_loaded();
	fresh = AllocSetContextCreate(TopMemoryContext, "prm programmes", ALLOCSET_SMALL_SIZES);
	info.keysize = sizeof(int64);
	info.entrysize = sizeof(PrmProgram);
	info.hcxt = fresh;
	table = hash_create("prm programmes", 16, &info, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);

	prm_enter_owner(&scope);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	/*
	 * Not read-only, so with a snapshot of its own: that of the statement under way may be older than the message that made
	 * the list stale (INSERT ... SELECT prm.create_program(...)), and what it does not show would be missing for good.
	 */
	if (SPI_execute("SELECT p.program_id, p.currency, p.rounding, p.time_zone FROM prm.program p", false, 0) != SPI_OK_SELECT)
		elog(ERROR, "reading prm.program failed");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool isnull;
		HeapTuple row = SPI_tuptable->vals[i];
		int64 id = DatumGetInt64(SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &isnull));
		PrmProgram *program = hash_search(table, &id, HASH_ENTER, NULL);

		strlcpy(program->currency, SPI_getvalue(row, SPI_tuptable->tupdesc, 2), sizeof(program->currency));
		program->half_even = strcmp(SPI_getvalue(row, SPI_tuptable->tupdesc, 3), "half_even") == 0;
		program->time_zone = MemoryContextStrdup(fresh, SPI_getvalue(row, SPI_tuptable->tupdesc, 4));
		only_program = id;
	}
	program_count = (int64) SPI_processed;
	SPI_finish();
	prm_leave_owner(&scope);

	/* Only now, when nothing can fail any more, does the new list take the place of the old one. */
	if (programs_context != NULL)
		MemoryContextDelete(programs_context);
	programs_context = fresh;
	programs = table;
	programs_generation = new_generation;
}

static inline void
need_programs(void)
{
	if (unlikely(programs == NULL || programs_generation != prm_definition_generation()))
		load_programs();
}

const PrmProgram *
prm_program_lookup(int64 program_id, bool missing_ok)
{
	PrmProgram *program;

	need_programs();
	program = hash_search(programs, &program_id, HASH_FIND, NULL);
	if (program == NULL && !missing_ok)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("programme " INT64_FORMAT " does not exist", program_id),
						errdetail("There are " INT64_FORMAT " programmes in prm.program.", program_count),
						errhint("SELECT program_id, name FROM prm.program lists them; prm.create_program(name) makes one.")));
	return program;
}

/* The programme in force: the setting, else the only one there is. */
int64
prm_chosen_program(void)
{
	if (likely(prm_setting_program_id != 0))
		return prm_setting_program_id;
	need_programs();
	if (program_count == 1)
		return only_program;
	if (program_count == 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("there is no programme yet"),
						errdetail("Table prm.program is empty."), errhint("SELECT prm.create_program('name') makes one.")));
	ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("no programme is chosen"),
					errdetail("There are " INT64_FORMAT " programmes, and the setting prm.program_id is empty.", program_count),
					errhint("SET LOCAL prm.program_id = '...', or pass program_id. SELECT program_id, name FROM prm.program lists "
							"them.")));
	return 0; /* keep the compiler quiet */
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_current_program);

Datum
prm_current_program(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(prm_chosen_program());
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_program_argument);

/* The first statement of every API function: the model is ready, and the programme asked for exists. */
Datum
prm_program_argument(PG_FUNCTION_ARGS)
{
	int64 program_id;

	prm_require_model();
	program_id = PG_ARGISNULL(0) ? prm_chosen_program() : PG_GETARG_INT64(0);
	(void) prm_program_lookup(program_id, false);
	PG_RETURN_INT64(program_id);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_program_currency);

Datum
prm_program_currency(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(prm_program_lookup(PG_GETARG_INT64(0), false)->currency));
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_program_time_zone);

Datum
prm_program_time_zone(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(prm_program_lookup(PG_GETARG_INT64(0), false)->time_zone));
}

/* ---- who ----------------------------------------------------------------------------------------------------------- */

/*
 * Logins and profiles by role and programme. The answers are cached until the definitions change, because a statement may
 * touch rows of a thousand programmes; both tables are read with the owner's rights.
 */
typedef struct LoginKey
{
	int64 program_id;
	int64 role; /* of 8 bytes, so that the key has no padding */
} LoginKey;

typedef struct Login
{
	LoginKey key;
	int64 partner_id; /* 0: not the login of a partner */
	bool may_act_for_partners;
} Login;

static HTAB *logins = NULL;
static uint64 logins_generation = 0;
static SPIPlanPtr login_plan = NULL;

/* The part of the answer that does not depend on the programme, for the role asked for last. */
static Oid profile_role = InvalidOid;
static uint64 profile_generation = 0;
static bool profile_may_act = false;

static bool
may_act_for_partners(Oid role, uint64 generation)
{
	if (profile_role != role || profile_generation != generation)
	{
		bool may = superuser_arg(role) || has_privs_of_role(role, prm_model_owner()) || prm_has_profile(role, "app") ||
				   prm_has_profile(role, "admin");

		profile_may_act = may;
		profile_role = role;
		profile_generation = generation;
	}
	return profile_may_act;
}

static Login *
load_login(Oid role, int64 program_id)
{
	uint64 new_generation = prm_definition_generation();
	PrmOwnerScope scope;
	Oid types[2] = {INT8OID, OIDOID};
	Datum values[2];
	bool isnull;
	int64 partner = 0;
	bool may_act;
	LoginKey key;
	Login *login;

	prm_definitions_loaded();
	values[0] = Int64GetDatum(program_id);
	values[1] = ObjectIdGetDatum(role);

	prm_enter_owner(&scope);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (login_plan == NULL)
	{
		SPIPlanPtr plan = SPI_prepare("SELECT l.partner_id FROM prm.partner_login l"
									  " WHERE l.program_id OPERATOR(pg_catalog.=) $1"
									  " AND l.role_name OPERATOR(pg_catalog.=) pg_catalog.pg_get_userbyid($2)::pg_catalog.text",
									  2, types);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "preparing the reading of prm.partner_login failed");
		login_plan = plan;
	}
	if (SPI_execute_plan(login_plan, values, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "reading prm.partner_login failed");
	if (SPI_processed > 0)
		partner = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	prm_leave_owner(&scope);
	may_act = may_act_for_partners(role, new_generation);

	/* Only now, when nothing can fail any more: an outdated list goes, the answer comes. */
	if (logins != NULL && logins_generation != new_generation)
	{
		hash_destroy(logins);
		logins = NULL;
	}
	if (logins == NULL)
	{
		HASHCTL info = {0};

		info.keysize = sizeof(LoginKey);
		info.entrysize = sizeof(Login);
		logins = hash_create("prm logins", 16, &info, HASH_ELEM | HASH_BLOBS);
		logins_generation = new_generation;
	}
	key.program_id = program_id;
	key.role = role;
	login = hash_search(logins, &key, HASH_ENTER, NULL);
	login->partner_id = partner;
	login->may_act_for_partners = may_act;
	return login;
}

/* Is the role, or a role whose rights it has, recorded with this profile by grant_access()? */
bool
prm_has_profile(Oid role, const char *profile)
{
	PrmOwnerScope scope;
	Oid types[2] = {TEXTOID, OIDOID};
	Datum values[2];
	bool found;

	values[0] = CStringGetTextDatum(profile);
	values[1] = ObjectIdGetDatum(role);
	prm_enter_owner(&scope);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args("SELECT 1 FROM prm.access_grant g JOIN pg_catalog.pg_roles r"
							  " ON r.rolname::pg_catalog.text OPERATOR(pg_catalog.=) g.role_name"
							  " WHERE g.profile OPERATOR(pg_catalog.=) $1 AND pg_catalog.pg_has_role($2, r.oid, 'USAGE')",
							  2, types, values, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "reading prm.access_grant failed");
	found = SPI_processed > 0;
	SPI_finish();
	prm_leave_owner(&scope);
	return found;
}

/* The partner_id of a JWT claim that an API layer left in request.jwt.claims, 0 where there is none. */
static int64
claimed_partner(void)
{
	const char *claims = GetConfigOption("request.jwt.claims", true, false);
	Datum document;
	JsonbValue *value;
	JsonbValue key;
	int64 partner = 0;

	if (claims == NULL || *claims == '\0')
		return 0;
	document = DirectFunctionCall1(jsonb_in, CStringGetDatum(claims));
	key.type = jbvString;
	key.val.string.val = "partner_id";
	key.val.string.len = strlen("partner_id");
	if (!JB_ROOT_IS_OBJECT(DatumGetJsonbP(document)))
		return 0;
	value = findJsonbValueFromContainer(&DatumGetJsonbP(document)->root, JB_FOBJECT, &key);
	if (value == NULL)
		return 0;
	if (value->type == jbvNumeric)
		partner = DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(value->val.numeric)));
	else if (value->type == jbvString)
		partner = pg_strtoint64(pnstrdup(value->val.string.val, value->val.string.len));
	return partner;
}

static int64
partner_of_role(Oid role, int64 program_id)
{
	LoginKey key = {program_id, role};
	Login *login = NULL;

	if (likely(logins != NULL && logins_generation == prm_definition_generation()))
		login = hash_search(logins, &key, HASH_FIND, NULL);
	if (unlikely(login == NULL))
		login = load_login(role, program_id);
	if (login->partner_id != 0)
		return login->partner_id;
	if (!login->may_act_for_partners)
		return 0;
	if (prm_setting_partner_id != 0)
		return prm_setting_partner_id;
	return claimed_partner();
}

int64
prm_acting_partner(int64 program_id)
{
	return partner_of_role(GetUserId(), program_id);
}

const char *
prm_acting_name(void)
{
	if (prm_setting_actor != NULL && *prm_setting_actor != '\0')
		return prm_setting_actor;
	return GetUserNameFromId(GetUserId(), false);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_current_partner);

Datum
prm_current_partner(PG_FUNCTION_ARGS)
{
	int64 partner = prm_acting_partner(prm_chosen_program());

	if (partner == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(partner);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_acting_partner_of);

/* The same for a given programme: triggers judge the programme of the row, and none may be chosen. A hook is the library. */
Datum
prm_acting_partner_of(PG_FUNCTION_ARGS)
{
	int64 partner = prm_hook_actor != NULL ? 0 : prm_acting_partner(PG_GETARG_INT64(0));

	if (partner == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(partner);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_calling_partner_of);

/*
 * The partner of whoever calls a function that runs with the owner's rights. There the current user is the owner, who may act
 * for any partner, so prm_acting_partner() would believe the setting of a caller who may not choose. The outer user is the
 * role of the session or of SET ROLE, which nothing inside such a function can change.
 */
Datum
prm_calling_partner_of(PG_FUNCTION_ARGS)
{
	int64 partner = partner_of_role(GetOuterUserId(), PG_GETARG_INT64(0));

	if (partner == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(partner);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_current_actor);

Datum
prm_current_actor(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(prm_acting_name()));
}
