/* Prototypes of the class functions, one a message; and the table of messages.
 * Made by xapi-gen from schema/: do not edit. */
#ifndef GEN_METHODS_H
#define GEN_METHODS_H

#include "gen/model.h"

struct call;

/* Sorted by name; the last entry has no name. */
extern const struct method_desc method_descs[];

/* ---- Box ---- */

/* ---- event ---- */
/* event.from: What happened. */
int event_from(struct call *c, const struct value *classes, struct value *ret_result, struct xerr *err);

/* ---- Thing ---- */
/* Thing.start: Starts it. */
int thing_start(struct call *c, struct ref self, bool force, enum thing_state state, uint64_t set, struct xerr *err);
/* Thing.when: The local time. */
int thing_when(struct call *c, struct ref self, int64_t *ret_result, struct xerr *err);
/* Thing.set_size: Changes the size. */
int thing_set_size(struct call *c, struct ref self, int64_t value, struct xerr *err);
/* Thing.register: A message whose parameters are named like C keywords. */
int thing_register(struct call *c, const char *default_, const struct value *int_, enum thing_state *ret_result, struct xerr *err);
/* Thing.create: Makes a new Thing from a record; members that are left out get their default. */
int thing_create(struct call *c, const struct value *args, struct ref *ret_result, struct xerr *err);
/* Thing.destroy: Destroys this Thing. */
int thing_destroy(struct call *c, struct ref self, struct xerr *err);
/* Thing.set_name_label: Changes the field name_label of this Thing. */
int thing_set_name_label(struct call *c, struct ref self, const char *value, struct xerr *err);
/* Thing.set_ratio: Changes the field ratio of this Thing. */
int thing_set_ratio(struct call *c, struct ref self, double value, struct xerr *err);
/* Thing.set_good: Changes the field good of this Thing. */
int thing_set_good(struct call *c, struct ref self, bool value, struct xerr *err);
/* Thing.set_tags: Changes the field tags of this Thing. */
int thing_set_tags(struct call *c, struct ref self, const struct value *value, struct xerr *err);
/* Thing.add_tags: Adds one value to the field tags of this Thing; nothing happens when it is there. */
int thing_add_tags(struct call *c, struct ref self, const char *value, struct xerr *err);
/* Thing.remove_tags: Removes one value from the field tags of this Thing; nothing happens when it is not there. */
int thing_remove_tags(struct call *c, struct ref self, const char *value, struct xerr *err);
/* Thing.set_other_config: Changes the field other_config of this Thing. */
int thing_set_other_config(struct call *c, struct ref self, const struct value *value, struct xerr *err);
/* Thing.add_to_other_config: Adds a key that is not there yet to the field other_config of this Thing. */
int thing_add_to_other_config(struct call *c, struct ref self, const char *key, const char *value, struct xerr *err);
/* Thing.remove_from_other_config: Removes a key from the field other_config of this Thing; nothing happens when it is not there. */
int thing_remove_from_other_config(struct call *c, struct ref self, const char *key, struct xerr *err);
/* Thing.set_code: Changes the field code of this Thing. */
int thing_set_code(struct call *c, struct ref self, const char *value, struct xerr *err);

#endif
