/* What a pickle of PyTorch may name: dictionaries, storages, tensors. */
#include <string.h>

#include "pickle_machine.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"

enum {
    DEPTH_MOST = 16,       /* dictionaries inside one another */
    NAME_MOST = 1000,      /* bytes of a tensor's name */
    VISITS_MOST = 1 << 18 /* members of them, each as often as it is referred to */
};

/* The globals that are understood. */
typedef enum callee { MAKE_DICT, MAKE_TENSOR, MAKE_PARAMETER, MAKE_FROM_TYPE, MAKE_SIZE, STORAGE_CLASS, NO_OBJECT } callee;

static const struct global {
    const char *module, *name;
    callee what;
    sd_dtype type; /* of a storage class */
} globals[] = {
    {"collections", "OrderedDict", MAKE_DICT, SD_DTYPES},
    {"torch._utils", "_rebuild_tensor_v2", MAKE_TENSOR, SD_DTYPES},
    {"torch._utils", "_rebuild_parameter", MAKE_PARAMETER, SD_DTYPES},
    {"torch._tensor", "_rebuild_from_type_v2", MAKE_FROM_TYPE, SD_DTYPES},
    {"torch.nn.parameter", "Parameter", NO_OBJECT, SD_DTYPES},
    {"torch", "Tensor", NO_OBJECT, SD_DTYPES},
    {"torch", "Size", MAKE_SIZE, SD_DTYPES},
    {"torch", "FloatStorage", STORAGE_CLASS, SD_F32},
    {"torch", "DoubleStorage", STORAGE_CLASS, SD_F64},
    {"torch", "HalfStorage", STORAGE_CLASS, SD_F16},
    {"torch", "BFloat16Storage", STORAGE_CLASS, SD_BF16},
    {"torch", "LongStorage", STORAGE_CLASS, SD_I64},
    {"torch", "IntStorage", STORAGE_CLASS, SD_I32},
    {"torch", "ByteStorage", STORAGE_CLASS, SD_U8},
    {"torch", "BoolStorage", STORAGE_CLASS, SD_U8},
};

sd_status sd_pickle_push_global(pickle_machine *m, const uint8_t *module, uint32_t module_length, const uint8_t *name, uint32_t length)
{
    for (size_t i = 0; i < sizeof globals / sizeof *globals; i++)
        if (strlen(globals[i].module) == module_length && memcmp(globals[i].module, module, module_length) == 0 &&
            strlen(globals[i].name) == length && memcmp(globals[i].name, name, length) == 0)
            return sd_pickle_push_new(m, (pickle_value){.kind = CALL, .number = (int64_t)i});
    return SD_FAIL(SD_E_DATA,
                   "%s: byte %llu of its pickle names the object %.*s.%.*s, which would have to be executed; only tensors in "
                   "dictionaries are read: save the state_dict alone, or as safetensors",
                   m->name, (unsigned long long)m->op, (int)(module_length < 100 ? module_length : 100), (const char *)module,
                   (int)(length < 100 ? length : 100), (const char *)name);
}

/* A tuple of numbers from 0. */
static sd_status numbers(const pickle_machine *m, uint32_t index, uint64_t *out, int *count)
{
    const pickle_value *v = &m->values[index];

    if (v->kind != TUPLE || v->count > SD_TENSOR_DIMS)
        return sd_pickle_bad(m, "the shape of a tensor is no tuple of at most 8 numbers");
    *count = (int)v->count;
    for (uint32_t i = 0; i < v->count; i++) {
        const pickle_value *n = &m->values[v->items[i]];

        if (n->kind != NUMBER || n->number < 0)
            return sd_pickle_bad(m, "the shape of a tensor is no tuple of at most 8 numbers");
        out[i] = (uint64_t)n->number;
    }
    return SD_OK;
}

/* _rebuild_tensor_v2(storage, offset, shape, strides, …) */
static sd_status rebuild_tensor(pickle_machine *m, const pickle_value *args)
{
    pickle_value v = {.kind = TENSOR};
    const pickle_value *storage, *offset;
    int strides = 0;
    sd_status st;

    if (args->count < 4) {
        st = sd_pickle_bad(m, "a tensor without storage, offset, shape and strides");
        goto out;
    }
    storage = &m->values[args->items[0]];
    offset = &m->values[args->items[1]];
    if (storage->kind != STORAGE || offset->kind != NUMBER || offset->number < 0) {
        st = sd_pickle_bad(m, "a tensor without storage, offset, shape and strides");
        goto out;
    }
    v.tensor = storage->tensor;
    v.text = storage->text;
    v.length = storage->length;
    v.tensor.offset = (uint64_t)offset->number;
    SD_TRY(st, numbers(m, args->items[2], v.tensor.shape, &v.tensor.dims));
    SD_TRY(st, numbers(m, args->items[3], v.tensor.stride, &strides));
    if (strides != v.tensor.dims) {
        st = sd_pickle_bad(m, "a tensor with fewer or more strides than dimensions");
        goto out;
    }
    st = sd_pickle_push_new(m, v);
out:
    return st;
}

sd_status sd_pickle_call(pickle_machine *m, uint32_t callee_index, uint32_t args_index)
{
    const pickle_value *callee_value = &m->values[callee_index], *args = &m->values[args_index];

    if (callee_value->kind != CALL || args->kind != TUPLE)
        return sd_pickle_bad(m, "a call of something that is no known object");
    switch (globals[callee_value->number].what) {
    case MAKE_DICT:
        if (args->count != 0)
            return sd_pickle_bad(m, "a dictionary made from arguments");
        return sd_pickle_push_new(m, (pickle_value){.kind = DICT});
    case MAKE_TENSOR:
        return rebuild_tensor(m, args);
    case MAKE_PARAMETER:
        if (args->count < 1 || m->values[args->items[0]].kind != TENSOR)
            return sd_pickle_bad(m, "a parameter without a tensor");
        return sd_pickle_push(m, args->items[0]);
    case MAKE_FROM_TYPE:
        if (args->count < 3 || m->values[args->items[0]].kind != CALL ||
            globals[m->values[args->items[0]].number].what != MAKE_TENSOR || m->values[args->items[2]].kind != TUPLE)
            return sd_pickle_bad(m, "a tensor made from something that is no tensor");
        return rebuild_tensor(m, &m->values[args->items[2]]);
    case MAKE_SIZE:
        if (args->count != 1)
            return sd_pickle_bad(m, "a shape without a tuple");
        return sd_pickle_push(m, args->items[0]);
    default:
        return sd_pickle_bad(m, "a call of a class");
    }
}

/* ('storage', class, key, device, elements) */
sd_status sd_pickle_persistent(pickle_machine *m, uint32_t index)
{
    const pickle_value *v = &m->values[index], *class, *key, *elements;
    pickle_value out = {.kind = STORAGE};

    if (v->kind != TUPLE || v->count != 5)
        return sd_pickle_bad(m, "a storage that is no tuple of five");
    class = &m->values[v->items[1]];
    key = &m->values[v->items[2]];
    elements = &m->values[v->items[4]];
    if (class->kind != CALL || globals[class->number].what != STORAGE_CLASS || key->kind != TEXT || key->length == 0 ||
        key->length > 200 || elements->kind != NUMBER || elements->number < 0)
        return sd_pickle_bad(m, "a storage without class, key and number of elements");
    out.tensor.type = globals[class->number].type;
    out.tensor.elements = (uint64_t)elements->number;
    out.text = key->text;
    out.length = key->length;
    return sd_pickle_push_new(m, out);
}

/* ---- tensors of the result ---- */

typedef struct gather {
    sd_pickle_tensor *tensors;
    uint32_t count, capacity, visits;
} gather;

static sd_status add_tensor(pickle_machine *m, gather *g, const pickle_value *v, const char *name)
{
    sd_pickle_tensor *t;
    sd_status st;

    SD_TRY(st, sd_pickle_grow(m, &g->tensors, sizeof *g->tensors, g->count, &g->capacity));
    t = &g->tensors[g->count++];
    *t = v->tensor;
    t->key = NULL;
    SD_TRY(st, sd_str_copy(&t->name, name));
    SD_TRY(st, sd_str_format(&t->key, "%.*s", (int)v->length, (const char *)v->text));
out:
    return st;
}

static sd_status walk(pickle_machine *m, gather *g, uint32_t index, const char *name, int depth)
{
    const pickle_value *v = &m->values[index];
    char *member = NULL;
    sd_status st = SD_OK;

    if (v->kind == TENSOR) {
        st = add_tensor(m, g, v, name);
        goto out;
    }
    if (v->kind != DICT)
        goto out;
    if (depth == DEPTH_MOST || (g->visits += v->count) > VISITS_MOST) {
        st = SD_FAIL(SD_E_DATA, "%s: its dictionaries are more than %d deep, or have more than %d members", m->name,
                     (int)DEPTH_MOST, (int)VISITS_MOST);
        goto out;
    }
    for (uint32_t i = 0; i + 1 < v->count; i += 2) {
        const pickle_value *key = &m->values[v->items[i]];
        pickle_kind kind = m->values[v->items[i + 1]].kind;

        if (key->kind != TEXT || (kind != TENSOR && kind != DICT))
            continue;
        sd_free(member);
        member = NULL;
        if (strlen(name) + 1 + key->length > NAME_MOST || (key->length > 0 && memchr(key->text, '\0', key->length) != NULL)) {
            st = SD_FAIL(SD_E_DATA, "%s: a key inside '%.100s' holds a NUL, or makes a name of more than %d bytes; the file is damaged", m->name,
                         name, (int)NAME_MOST);
            goto out;
        }
        SD_TRY(st, sd_str_format(&member, "%s%s%.*s", name, name[0] ? "." : "", (int)key->length, (const char *)key->text));
        SD_TRY(st, walk(m, g, v->items[i + 1], member, depth + 1));
    }
out:
    sd_free(member);
    return st;
}

sd_status sd_pickle_tensors(pickle_machine *m, uint32_t root, sd_pickle_tensor **tensors, uint64_t *count)
{
    gather g = {0};
    sd_status st;

    SD_TRY(st, walk(m, &g, root, "", 0));
    *tensors = g.tensors;
    *count = g.count;
    g = (gather){0};
out:
    sd_pickle_free(&g.tensors, g.count);
    return st;
}
