/*
 * compat.h: every difference between the PostgreSQL versions that prm builds on (15, 16, 17, 18), so that no other file
 * has an #if on PG_VERSION_NUM.
 */
#ifndef PRM_COMPAT_H
#define PRM_COMPAT_H

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#include "nodes/miscnodes.h"
#define PRM_ESCONTEXT(fcinfo) ((fcinfo)->context)
#else
/* Before 16 an input function cannot report softly: the error is raised at once. */
#define ereturn(context, dummy_value, ...)                                                                   \
	do                                                                                                       \
	{                                                                                                        \
		(void)(context);                                                                                     \
		ereport(ERROR, __VA_ARGS__);                                                                         \
	} while (0)
#define PRM_ESCONTEXT(fcinfo) NULL
#endif

/* What a check hook hands to its assign hook: from 16 on it must come from the settings' own memory. */
#if PG_VERSION_NUM >= 160000
#define PRM_GUC_MALLOC(size) guc_malloc(LOG, size)
#define PRM_GUC_FREE(memory) guc_free(memory)
#else
#define PRM_GUC_MALLOC(size) malloc(size)
#define PRM_GUC_FREE(memory) free(memory)
#endif

/* 18 dropped the last parameter of ExecutorRun. */
#if PG_VERSION_NUM >= 180000
#define PRM_EXECUTOR_RUN_PARAMETERS QueryDesc *query, ScanDirection direction, uint64 count
#define PRM_EXECUTOR_RUN_ARGUMENTS query, direction, count
#else
#define PRM_EXECUTOR_RUN_PARAMETERS QueryDesc *query, ScanDirection direction, uint64 count, bool execute_once
#define PRM_EXECUTOR_RUN_ARGUMENTS query, direction, count, execute_once
#endif

/* 18 replaced the attribute by a keyword of C11; both may stand before the declaration. */
#ifdef pg_noreturn
#define PRM_NORETURN pg_noreturn
#else
#define PRM_NORETURN pg_attribute_noreturn()
#endif

/* From 18 on a module states its name and version, which pg_get_loaded_modules() shows. */
#if PG_VERSION_NUM >= 180000
#define PRM_MODULE_MAGIC PG_MODULE_MAGIC_EXT(.name = "prm", .version = PRM_VERSION)
#else
#define PRM_MODULE_MAGIC PG_MODULE_MAGIC
#endif

#endif /* PRM_COMPAT_H */
