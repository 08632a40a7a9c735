namespace LongLora.Training;

/// <summary>Settings of the training loop.</summary>
/// <param name="Steps">Optimizer steps of the whole run.</param>
/// <param name="GradientAccumulation">Micro-batches in one step.</param>
/// <param name="LearningRate">Peak learning rate.</param>
/// <param name="SaveEvery">Steps between two checkpoints; 0 for none before the end.</param>
/// <param name="ShortShare">Share of the micro-batches, 0 to 1, that are cut into windows of the model's original context.</param>
public sealed record TrainerOptions(int Steps, int GradientAccumulation, double LearningRate, int SaveEvery, double ShortShare = 0);
