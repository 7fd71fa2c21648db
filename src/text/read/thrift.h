/* A reader of Thrift's compact protocol (thrift-compact-protocol.md of Apache Thrift) for untrusted bytes. The first error stays
 * in `wrong`; after it every call returns zero or an empty value and every loop ends. Private to text. All Local. */
#ifndef SAEDIFF_TEXT_READ_THRIFT_H
#define SAEDIFF_TEXT_READ_THRIFT_H

#include <stdbool.h>
#include <stdint.h>

typedef struct thrift {
    const uint8_t *at, *end;
    const char *wrong; /* error in the bytes at `at`; NULL if none */
} thrift;

/* A member of a struct. for (thrift_field f = {0}; thrift_next(t, &f);) iterates over one; each member must be read or skipped. */
typedef struct thrift_field {
    int id, type;
} thrift_field;

bool thrift_next(thrift *t, thrift_field *f);
void thrift_skip(thrift *t, const thrift_field *f);
/* The value of the current member; an error if it has another type. */
int64_t thrift_int(thrift *t, const thrift_field *f);
bool thrift_bool(thrift *t, const thrift_field *f);
const char *thrift_text(thrift *t, const thrift_field *f, uint64_t *length);
bool thrift_struct(thrift *t, const thrift_field *f);
/* Number of entries of a list of structs, at most the number of bytes left, as each has at least one byte. */
uint64_t thrift_structs(thrift *t, const thrift_field *f);

/* An unsigned number of at most 64 bits, 7 per byte; and a zigzag-encoded signed number. */
uint64_t thrift_varint(thrift *t);
int64_t thrift_zigzag(thrift *t);

#endif
