/*
 * machine_plain.c: is prm.state_history plain, so that an INSERT into it runs nothing but what the server itself brings?
 *
 * The history is written with the rights of the model's owner. What runs then must not be found by the search_path of whoever
 * caused the change, so the path is pinned (owner.c), which costs as much as a tenth of the row's INSERT itself. Nothing is
 * looked up by it while the table is as install() made it: the statement names everything with its schema, defaults and checks
 * are stored as trees, and all their functions are the server's own. Once somebody adds a row trigger, a policy, a rule, a
 * partition, an index or a check with a function of his own, the table is plain no longer, and the path is pinned.
 *
 * Owns the answer, kept until the relcache says that the table changed. Called by machine_history.c.
 */
#include "machine.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/transam.h"
#include "catalog/pg_class.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* The columns that the INSERT names: their defaults do not matter. */
static const char *const named_columns[] = {"program_id", "machine", "machine_version", "event", "from_state", "to_state", "actor",
											"actor_kind", "partner_id", "reason", "at"};

static bool registered = false;
static Oid history = InvalidOid; /* InvalidOid: not known */
static bool plain = false;

static void
relation_changed(Datum arg, Oid relation)
{
	if (!OidIsValid(relation) || relation == history)
		history = InvalidOid;
}

static bool
is_foreign(Oid object, void *context)
{
	return object >= FirstNormalObjectId;
}

static bool
calls_foreign(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, CoerceToDomain) || check_functions_in_node(node, is_foreign, context))
		return true;
	return expression_tree_walker(node, calls_foreign, context);
}

static bool
is_named(const char *column)
{
	for (int i = 0; i < lengthof(named_columns); i++)
		if (strcmp(column, named_columns[i]) == 0)
			return true;
	return false;
}

static bool
columns_are_plain(Relation relation)
{
	TupleDesc tupdesc = RelationGetDescr(relation);
	TupleConstr *constr = tupdesc->constr;

	for (int i = 0; i < tupdesc->natts; i++)
		if (!TupleDescAttr(tupdesc, i)->attisdropped && is_foreign(TupleDescAttr(tupdesc, i)->atttypid, NULL))
			return false;
	if (constr == NULL)
		return true;
	for (int i = 0; i < constr->num_check; i++)
		if (calls_foreign(stringToNode(constr->check[i].ccbin), NULL))
			return false;
	for (int i = 0; i < constr->num_defval; i++)
		if (!is_named(NameStr(TupleDescAttr(tupdesc, constr->defval[i].adnum - 1)->attname)) &&
			calls_foreign(stringToNode(constr->defval[i].adbin), NULL))
			return false;
	return true;
}

static bool
index_is_plain(Oid oid)
{
	Relation index = index_open(oid, AccessShareLock);
	bool result = !is_foreign(index->rd_rel->relam, NULL) && !calls_foreign((Node *) RelationGetIndexExpressions(index), NULL) &&
				  !calls_foreign((Node *) RelationGetIndexPredicate(index), NULL);

	for (int i = 0; result && i < IndexRelationGetNumberOfKeyAttributes(index); i++)
		result = !is_foreign(index->rd_opfamily[i], NULL);
	index_close(index, AccessShareLock);
	return result;
}

static bool
looks_plain(Relation relation)
{
	TriggerDesc *triggers = relation->trigdesc;
	ListCell *cell;

	if (relation->rd_rel->relkind != RELKIND_RELATION || relation->rd_rel->relrowsecurity || relation->rd_rules != NULL ||
		relation->rd_rel->relispartition || is_foreign(relation->rd_rel->relam, NULL))
		return false;
	if (triggers != NULL && (triggers->trig_insert_before_row || triggers->trig_insert_after_row || triggers->trig_insert_instead_row ||
							 triggers->trig_insert_before_statement || triggers->trig_insert_after_statement))
		return false;
	if (!columns_are_plain(relation))
		return false;
	foreach (cell, RelationGetIndexList(relation))
		if (!index_is_plain(lfirst_oid(cell)))
			return false;
	return true;
}

bool
prm_history_is_plain(void)
{
	Oid oid;
	Relation relation;
	bool result;

	if (likely(OidIsValid(history)))
		return plain;
	if (!registered)
	{
		CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
		registered = true;
	}
	oid = prm_model_relation("state_history", false);
	relation = relation_open(oid, AccessShareLock);
	/* Set before looking: a message that comes meanwhile must not be lost. */
	history = oid;
	result = looks_plain(relation);
	relation_close(relation, AccessShareLock);
	plain = result;
	return result;
}
