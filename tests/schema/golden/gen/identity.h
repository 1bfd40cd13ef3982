/* Who we say we are: the defaults that the configuration may override.
 * Made by xapi-gen from schema/: do not edit. */
#ifndef GEN_IDENTITY_H
#define GEN_IDENTITY_H

/* Our name. */
#define IDENTITY_PRODUCT_BRAND "things"

#endif
