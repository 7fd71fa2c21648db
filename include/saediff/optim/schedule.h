/* Learning-rate schedules: pure functions of the step. Local. */
#ifndef SAEDIFF_OPTIM_SCHEDULE_H
#define SAEDIFF_OPTIM_SCHEDULE_H

#include "saediff/core/types.h"

/* Linear from 0 over the first `warmup` steps, constant, linear to 0 over the last `decay` steps. */
typedef struct sd_schedule {
    double peak;
    uint64_t steps, warmup, decay;
} sd_schedule;

/* The rate of step t = 1 … steps: peak · min(1, t/warmup) · min(1, (steps − t + 1)/(decay + 1)). */
double sd_schedule_rate(const sd_schedule *schedule, uint64_t t);

#endif
