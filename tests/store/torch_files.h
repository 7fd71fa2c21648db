/* PyTorch checkpoints written by hand: opcodes of the pickle, and the zip around it. */
#ifndef SAEDIFF_TESTS_STORE_TORCH_FILES_H
#define SAEDIFF_TESTS_STORE_TORCH_FILES_H

#include <stdint.h>
#include <zip.h>

#include "scratch.h"

typedef struct script {
    uint8_t bytes[8192];
    size_t length;
} script;

static inline void op_bytes(script *s, const void *bytes, size_t count)
{
    CHECK(s->length + count <= sizeof s->bytes);
    memcpy(s->bytes + s->length, bytes, count);
    s->length += count;
}

static inline void op(script *s, int code)
{
    uint8_t byte = (uint8_t)code;

    op_bytes(s, &byte, 1);
}

/* BINUNICODE */
static inline void op_text(script *s, const char *text)
{
    uint32_t length = (uint32_t)strlen(text);

    op(s, 'X');
    op_bytes(s, &length, 4);
    op_bytes(s, text, length);
}

/* GLOBAL */
static inline void op_global(script *s, const char *module, const char *name)
{
    op(s, 'c');
    op_bytes(s, module, strlen(module));
    op(s, '\n');
    op_bytes(s, name, strlen(name));
    op(s, '\n');
}

/* BININT */
static inline void op_int(script *s, int32_t value)
{
    op(s, 'J');
    op_bytes(s, &value, 4);
}

static inline void op_numbers(script *s, const int32_t *values, int count)
{
    op(s, '(');
    for (int i = 0; i < count; i++)
        op_int(s, values[i]);
    op(s, 't');
}

/* torch._utils._rebuild_tensor_v2(storage, offset, shape, strides, False, OrderedDict()) */
static inline void op_tensor(script *s, const char *class, const char *key, int32_t elements, int32_t offset, const int32_t *shape,
                             const int32_t *stride, int dims)
{
    op_global(s, "torch._utils", "_rebuild_tensor_v2");
    op(s, '(');
    op(s, '(');
    op_text(s, "storage");
    op_global(s, "torch", class);
    op_text(s, key);
    op_text(s, "cpu");
    op_int(s, elements);
    op(s, 't');
    op(s, 'Q');
    op_int(s, offset);
    op_numbers(s, shape, dims);
    op_numbers(s, stride, dims);
    op(s, 0x89);
    op_global(s, "collections", "OrderedDict");
    op(s, ')');
    op(s, 'R');
    op(s, 't');
    op(s, 'R');
}

typedef struct zip_entry {
    const char *name;
    const void *data;
    size_t size;
} zip_entry;

/* Entries are stored, not compressed, as PyTorch does. */
static inline void write_zip(const char *path, const zip_entry *entries, int count)
{
    int code;
    zip_t *zip = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, &code);

    CHECK(zip != NULL);
    for (int i = 0; i < count; i++) {
        zip_int64_t at = zip_file_add(zip, entries[i].name, zip_source_buffer(zip, entries[i].data, entries[i].size, 0), 0);

        CHECK(at >= 0 && zip_set_file_compression(zip, (zip_uint64_t)at, ZIP_CM_STORE, 0) == 0);
    }
    CHECK(zip_close(zip) == 0);
}

#endif
