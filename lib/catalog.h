/* Translations of sentences: a catalog that msgfmt made of a .po file, read in place.
 * Called by: xe/, xapi/http/cli.c.  Calls: libc.
 *
 * libc's own gettext knows one language for the whole process, and only where the system has generated that
 * language's locale. A server speaks to each of its clients in theirs. */
#ifndef LIB_CATALOG_H
#define LIB_CATALOG_H

#include "lib/util.h"

struct catalog;

/* Marks a literal that is translated elsewhere: po/update.py looks for it. */
#define N_(text) text

enum { CATALOG_LANGUAGE = 16 };        /* room for "ja" or "pt_BR" */

/* FOLDER/LANGUAGE/LC_MESSAGES/DOMAIN.mo, or that of the language without its country. NULL when there is none
 * that can be read whole, and when the language is no plain name. */
struct catalog *catalog_open(const char *folder, const char *language, const char *domain);
void catalog_free(struct catalog *c);                     /* NULL is fine */
/* What stands for a text, borrowed from the catalog; the text itself when there is nothing. c may be NULL. */
const char *catalog_text(const struct catalog *c, const char *text);

/* The language that the user wants messages in, after LC_ALL, LC_MESSAGES and LANG, and LANGUAGE before these.
 * False: none, or one whose characters are not UTF-8, which is all that catalogs hold. */
bool catalog_wanted(char ret_language[CATALOG_LANGUAGE]);
/* The folder of the catalogs: of this build when the program runs from there, else the installed one. malloc'd. */
char *catalog_folder(void);

static inline void catalog_freep(struct catalog **c) { catalog_free(*c); }
#define _cleanup_catalog_ _cleanup_(catalog_freep)

#endif
