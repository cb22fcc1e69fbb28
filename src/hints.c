/*
 * hints.c: the next step for errors that the server itself raises about tables of the model.
 *
 * A repeated external_ref, a reference into another programme or a broken CHECK is found by the server's own constraints,
 * whose errors have DETAIL but never a HINT. A row trigger cannot help: it would have to look before each insert, would miss
 * what is inserted at the same time, and would break INSERT ... ON CONFLICT. So while statements run, a callback stands on the
 * error context stack; it runs only when an error is already being raised, and adds a HINT where the error names a constraint
 * or column of schema prm and has no HINT yet. Nothing else about the error is changed, and nothing is done where no error is.
 */
#include "prm.h"

#include "catalog/namespace.h"
#include "catalog/pg_constraint.h"
#include "executor/executor.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* A longer rule explains nothing in one line. */
#define MAX_RULE_LENGTH 240

static ExecutorRun_hook_type previous_executor_run = NULL;
static ExecutorFinish_hook_type previous_executor_finish = NULL;
static ProcessUtility_hook_type previous_process_utility = NULL;

/* Takes every occurrence of a piece out of a text. */
static void
take_out(char *text, const char *piece)
{
	size_t length = strlen(piece);
	char *found = text;

	while ((found = strstr(found, piece)) != NULL)
		memmove(found, found + length, strlen(found + length) + 1);
}

/*
 * What a CHECK of schema prm asks for, as SQL; NULL where it cannot be looked up or is too long. The transaction is still whole
 * when the error is reported, so the catalog may be read.
 */
static char *
rule_of_check(const char *table, const char *constraint)
{
	Oid schema = get_namespace_oid("prm", true);
	Oid relation = OidIsValid(schema) && table != NULL ? get_relname_relid(table, schema) : InvalidOid;
	Oid check = OidIsValid(relation) ? get_relation_constraint_oid(relation, constraint, true) : InvalidOid;
	char *rule, *letter, *to;
	size_t length;

	if (!OidIsValid(check))
		return NULL;
	rule = TextDatumGetCString(DirectFunctionCall2(pg_get_constraintdef_ext, ObjectIdGetDatum(check), BoolGetDatum(true)));
	take_out(rule, "::text");
	take_out(rule, "::numeric");
	length = strlen(rule);
	if (strncmp(rule, "CHECK (", 7) != 0 || rule[length - 1] != ')' || length > MAX_RULE_LENGTH)
		return NULL;
	rule[length - 1] = '\0';
	/* Some rules come in several lines, indented. */
	for (letter = to = rule + 7; *letter != '\0'; letter++)
	{
		char next = *letter == '\n' ? ' ' : *letter;

		if (next != ' ' || (to > rule + 7 && to[-1] != ' '))
			*to++ = next;
	}
	*to = '\0';
	return rule + 7;
}

/*
 * Called by errfinish() with the error on top of the error stack, in ErrorContext, which CopyErrorData() must not use for its
 * copy. Only the fields of a constraint violation are looked at.
 */
static void
add_hint(void *arg)
{
	MemoryContext old_context;
	ErrorData *error;
	int code = geterrcode();

	if (code != ERRCODE_UNIQUE_VIOLATION && code != ERRCODE_FOREIGN_KEY_VIOLATION && code != ERRCODE_CHECK_VIOLATION &&
		code != ERRCODE_NOT_NULL_VIOLATION && code != ERRCODE_EXCLUSION_VIOLATION)
		return;
	old_context = MemoryContextSwitchTo(TopMemoryContext);
	error = CopyErrorData();
	MemoryContextSwitchTo(old_context);

	if (error->hint == NULL && error->schema_name != NULL && strcmp(error->schema_name, "prm") == 0)
	{
		const char *constraint = error->constraint_name ? error->constraint_name : "";
		char *rule;

		switch (code)
		{
			case ERRCODE_UNIQUE_VIOLATION:
				if (strstr(constraint, "external_ref") != NULL)
					errhint("To send a row again, use INSERT ... ON CONFLICT (program_id, external_ref) DO UPDATE, or prm.import().");
				else
					errhint("The row is there already: change it, or give another key.");
				break;
			case ERRCODE_FOREIGN_KEY_VIOLATION:
				errhint("A row and everything that it refers to stand in the same programme; what others refer to cannot go "
						"before them. SET LOCAL prm.program_id chooses the programme.");
				break;
			case ERRCODE_NOT_NULL_VIOLATION:
				if (error->column_name != NULL && strcmp(error->column_name, "program_id") == 0)
					errhint("Leave program_id out, so that the programme in force is taken, or give its number.");
				else
					errhint("Give column \"%s\" a value, or leave it out where it has a default.",
							error->column_name ? error->column_name : "");
				break;
			case ERRCODE_EXCLUSION_VIOLATION:
				if (strcmp(constraint, "calendar_hours_overlap") == 0)
					errhint("The hours overlap those of a row that is there: change that one, or begin where it ends.");
				else if (strcmp(constraint, "registration_exclusive") == 0)
					errhint("The customer is protected there already: reject this registration, or approve it when the other one ends.");
				else
					errhint("The validity overlaps that of a row that is there: close that one first.");
				break;
			default:
				rule = rule_of_check(error->table_name, constraint);
				if (rule != NULL)
					errhint("What must hold is: %s.", rule);
				else
					errhint("\\d prm.%s shows the rule, constraint \"%s\".", error->table_name ? error->table_name : "", constraint);
				break;
		}
	}
	FreeErrorData(error);
}

#define WITH_HINTS(statement)                                                                                \
	do                                                                                                       \
	{                                                                                                        \
		ErrorContextCallback callback;                                                                       \
                                                                                                             \
		callback.callback = add_hint;                                                                        \
		callback.arg = NULL;                                                                                 \
		callback.previous = error_context_stack;                                                             \
		error_context_stack = &callback;                                                                     \
		statement;                                                                                           \
		error_context_stack = callback.previous;                                                             \
	} while (0)

static void
executor_run(PRM_EXECUTOR_RUN_PARAMETERS)
{
	if (previous_executor_run)
		WITH_HINTS(previous_executor_run(PRM_EXECUTOR_RUN_ARGUMENTS));
	else
		WITH_HINTS(standard_ExecutorRun(PRM_EXECUTOR_RUN_ARGUMENTS));
}

/* Foreign keys are checked here, among the AFTER triggers. */
static void
executor_finish(QueryDesc *query)
{
	if (previous_executor_finish)
		WITH_HINTS(previous_executor_finish(query));
	else
		WITH_HINTS(standard_ExecutorFinish(query));
}

/* COPY is a utility statement. */
static void
process_utility(PlannedStmt *statement, const char *query_text, bool read_only_tree, ProcessUtilityContext context,
				ParamListInfo parameters, QueryEnvironment *environment, DestReceiver *destination, QueryCompletion *completion)
{
	if (previous_process_utility)
		WITH_HINTS(previous_process_utility(statement, query_text, read_only_tree, context, parameters, environment,
											destination, completion));
	else
		WITH_HINTS(standard_ProcessUtility(statement, query_text, read_only_tree, context, parameters, environment,
										   destination, completion));
}

void
prm_install_hints(void)
{
	previous_executor_run = ExecutorRun_hook;
	ExecutorRun_hook = executor_run;
	previous_executor_finish = ExecutorFinish_hook;
	ExecutorFinish_hook = executor_finish;
	previous_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}
