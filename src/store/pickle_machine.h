/* The machine that runs a pickle, and the objects it makes. Values live in one growing array and refer to one another by index. */
#ifndef SAEDIFF_STORE_PICKLE_MACHINE_H
#define SAEDIFF_STORE_PICKLE_MACHINE_H

#include "pickle.h"

enum { VALUES_MOST = 1 << 20 /* values, and entries of the memo */ };

typedef enum pickle_kind { NONE, NUMBER, TEXT, CALL, TUPLE, LIST, DICT, STORAGE, TENSOR, MARK } pickle_kind;

typedef struct pickle_value {
    pickle_kind kind;
    uint32_t *items; /* TUPLE, LIST, and DICT: keys and values by turns */
    uint32_t count, capacity;
    int64_t number;             /* NUMBER (of a float: not kept), CALL: index of globals */
    const uint8_t *text;        /* TEXT, STORAGE: its key */
    uint32_t length;
    sd_pickle_tensor tensor;    /* STORAGE: type and elements; TENSOR: all but the name */
} pickle_value;

typedef struct pickle_machine {
    const char *name;
    const uint8_t *bytes;
    uint64_t size, at, op; /* op: where the opcode under work began */
    pickle_value *values;
    uint32_t n_values, capacity_values;
    uint32_t *stack, n_stack, capacity_stack;
    uint32_t *memo, n_memo, capacity_memo;
} pickle_machine;

/* SD_E_DATA with the place of the operation under work. */
sd_status sd_pickle_bad(const pickle_machine *m, const char *what);
/* Room for one more element of the array at *array; counts stay below VALUES_MOST. */
SD_MUST_CHECK sd_status sd_pickle_grow(const pickle_machine *m, void *array, size_t size, uint32_t count, uint32_t *capacity);
/* On the stack: a value that is there, or a new one, whose items are taken over also on failure. */
SD_MUST_CHECK sd_status sd_pickle_push(pickle_machine *m, uint32_t index);
SD_MUST_CHECK sd_status sd_pickle_push_new(pickle_machine *m, pickle_value v);

/* The global module.name; refused by its name unless it is one of the few that make data. */
SD_MUST_CHECK sd_status sd_pickle_push_global(pickle_machine *m, const uint8_t *module, uint32_t module_length,
                                              const uint8_t *name, uint32_t length);
/* callee(args…): what the few known ones make. */
SD_MUST_CHECK sd_status sd_pickle_call(pickle_machine *m, uint32_t callee, uint32_t args);
/* The storage that a persistent id names. */
SD_MUST_CHECK sd_status sd_pickle_persistent(pickle_machine *m, uint32_t index);
/* All tensors that hang on `root`. */
SD_MUST_CHECK sd_status sd_pickle_tensors(pickle_machine *m, uint32_t root, sd_pickle_tensor **tensors, uint64_t *count);

#endif
