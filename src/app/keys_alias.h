/* Keys and values that have a new name. The old ones are accepted for one version, with a warning. Private to app. */
#ifndef SAEDIFF_APP_KEYS_ALIAS_H
#define SAEDIFF_APP_KEYS_ALIAS_H

/* The present name of a key ("models.stages"; of an entry of a list "data.condition", without its number) or of a section; NULL if
 * `name` is no old name. Valid until the program ends. */
const char *key_alias(const char *name);
/* The same for a value of the key `name`. */
const char *key_value_alias(const char *name, const char *value);
/* Warns, once for each old name, that it will go. */
void key_warn_alias(const char *old_name, const char *name);

#endif
