/*
 * prm.h: the umbrella header. Prototypes are grouped by the file that owns them.
 *
 * SQLSTATEs in use: 22023 bad parameter, 22P02 bad text form, 22P03 bad binary form, 22003 out of range,
 * 23514 illegal transition, failed guard, missing field or bad amount, 42501 wrong actor or missing right,
 * 42704 unknown programme, machine, event or subject, 55000 wrong state of the world, 39P01 misuse of a trigger function.
 */
#ifndef PRM_H
#define PRM_H

#include "postgres.h"

#include "fmgr.h"
#include "utils/timestamp.h"

#include "compat.h"

/* prm.c: settings */
extern int64 prm_setting_program_id; /* 0 = not set */
extern int64 prm_setting_partner_id; /* 0 = not set */
extern char *prm_setting_actor;
extern char *prm_setting_reason;
extern char *prm_setting_clock;
extern bool prm_setting_clock_given;
extern TimestampTz prm_setting_clock_time;

/* owner.c: acting with the rights of the model's owner */
typedef struct PrmOwnerScope
{
	Oid user;
	int security_context;
	int guc_level;
} PrmOwnerScope;

extern Oid prm_schema_oid(void);
extern Oid prm_model_owner(void);
extern void prm_enter_owner_rights(PrmOwnerScope *scope);
extern void prm_enter_owner(PrmOwnerScope *scope);
extern void prm_leave_owner(PrmOwnerScope *scope);
extern Oid prm_model_relation(const char *name, bool missing_ok);

/*
 * definitions.c: one generation number for everything that backends cache of the definition tables. A cache is current
 * while the generation it was built under equals prm_definition_generation(). See the head of the file.
 */
extern uint64 prm_definition_generation(void);
extern void prm_definitions_loaded(void);

/* session.c: who, when and in which programme */
typedef enum PrmActorKind
{
	PRM_ACTOR_VENDOR,
	PRM_ACTOR_PARTNER,
	PRM_ACTOR_SYSTEM
} PrmActorKind;

typedef struct PrmProgram
{
	int64 program_id;
	char currency[4];
	bool half_even;
	char *time_zone;
} PrmProgram;

extern TimestampTz prm_current_time(void);
extern int64 prm_chosen_program(void);
extern const PrmProgram *prm_program_lookup(int64 program_id, bool missing_ok);
extern int64 prm_acting_partner(int64 program_id); /* 0 = vendor staff */
extern const char *prm_acting_name(void);
extern bool prm_has_profile(Oid role, const char *profile);

/* hints.c */
extern void prm_install_hints(void);

/* machine_context.c: not NULL while a hook runs: the library acts, on behalf of this actor */
extern const char *prm_hook_actor;

/* program.c: while a programme is deleted with all that is in it */
extern bool prm_program_deleting;

/* install.c */
extern void prm_require_model(void);

#endif /* PRM_H */
