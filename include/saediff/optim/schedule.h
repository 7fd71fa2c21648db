/* Learning-rate schedules: pure functions of the step, without errors. Local. Steps are counted from 1. */
#ifndef SAEDIFF_OPTIM_SCHEDULE_H
#define SAEDIFF_OPTIM_SCHEDULE_H

#include "saediff/core/types.h"

/* For SAEs: linear warmup from 0 over the first `warmup` steps, then constant, then linear to 0 over the last `decay` steps. */
typedef struct sd_schedule {
    double peak; /* learning rate */
    uint64_t steps, warmup, decay;
} sd_schedule;

/* The learning rate of step t = 1 … steps: peak · min(1, t/warmup) · min(1, (steps − t + 1)/(decay + 1)). */
double sd_schedule_rate(const sd_schedule *schedule, uint64_t t);

/* Shape of the decay after warmup. */
typedef enum sd_fall { SD_FALL_CONSTANT, SD_FALL_LINEAR, SD_FALL_COSINE } sd_fall;

/* For fine-tuning: linear warmup from 0 over the first `warmup` steps; then constant, or decaying to final·peak at the last step, linearly
 * or along half a cosine. */
typedef struct sd_slope {
    sd_fall fall;
    double peak, final; /* learning rate; its final fraction of the peak, 0 … 1 */
    uint64_t steps, warmup;
} sd_slope;

/* The learning rate of step t = 1 … steps: peak · t/warmup up to t = warmup; then with p = (t − warmup)/(steps − warmup)
 * peak, peak · (final + (1 − final)(1 − p)), or peak · (final + (1 − final) ½ (1 + cos πp)). */
double sd_slope_rate(const sd_slope *slope, uint64_t t);

#endif
