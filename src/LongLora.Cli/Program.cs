LongLora.Runtime.LibTorch.EnsureLoaded();
Console.WriteLine(TorchSharp.torch.ones(3).sum().item<float>());
