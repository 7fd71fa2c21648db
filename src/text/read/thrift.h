/* Reading Thrift's compact protocol (thrift-compact-protocol.md of Apache Thrift) from bytes that may be anything. The first fault stays
 * in `wrong`; from there on every call gives nothing and every loop ends. Private to text. All Local. */
#ifndef SAEDIFF_TEXT_READ_THRIFT_H
#define SAEDIFF_TEXT_READ_THRIFT_H

#include <stdbool.h>
#include <stdint.h>

typedef struct thrift {
    const uint8_t *at, *end;
    const char *wrong; /* what is wrong with the bytes at `at`; NULL while all is well */
} thrift;

/* A member of a struct. for (thrift_field f = {0}; thrift_next(t, &f);) walks over one, and each member is read or skipped. */
typedef struct thrift_field {
    int id, type;
} thrift_field;

bool thrift_next(thrift *t, thrift_field *f);
void thrift_skip(thrift *t, const thrift_field *f);
/* The value of the member at hand; a fault where it has another type. */
int64_t thrift_int(thrift *t, const thrift_field *f);
bool thrift_bool(thrift *t, const thrift_field *f);
const char *thrift_text(thrift *t, const thrift_field *f, uint64_t *length);
bool thrift_struct(thrift *t, const thrift_field *f);
/* Entries of a list of structs; each has at least one byte in the file, so that there are not more than bytes left. */
uint64_t thrift_structs(thrift *t, const thrift_field *f);

/* An unsigned number of at most 64 bits, 7 a byte; and one that alternates in sign. */
uint64_t thrift_varint(thrift *t);
int64_t thrift_zigzag(thrift *t);

#endif
